package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"

	"golang.org/x/net/http/httpproxy"
)

const variable = "HTTPS_PROXY"

// Environment is which servers are reached through a proxy, and which. nil sends
// none through one.
type Environment struct {
	choose func(*url.URL) (*url.URL, error)
	proxy  *Proxy
}

// FromEnvironment reads HTTPS_PROXY and NO_PROXY by getenv. A proxy that cannot be
// used is refused, also if NO_PROXY may never need it: going around it in silence
// would be worse. nil: none is named.
func FromEnvironment(getenv func(string) string) (*Environment, error) {
	named := cmp.Or(getenv("https_proxy"), getenv("HTTPS_PROXY"))
	if named == "" {
		return nil, nil
	}
	p, err := parse(named)
	if err != nil {
		return nil, fmt.Errorf("proxy: %s: %w; write http://HOST:PORT, with credentials http://USER:PASSWORD@HOST:PORT", variable, err)
	}
	cfg := httpproxy.Config{HTTPSProxy: named, NoProxy: cmp.Or(getenv("no_proxy"), getenv("NO_PROXY"))}
	return &Environment{choose: cfg.ProxyFunc(), proxy: p}, nil
}

// For is the proxy through which a server, HOST:PORT, is reached; nil: directly.
func (e *Environment) For(server string) *Proxy {
	if e == nil {
		return nil
	}
	at, err := e.choose(&url.URL{Scheme: "https", Host: server})
	if at == nil || err != nil {
		return nil
	}
	return e.proxy
}

// parse reads the URL of a proxy. HOST:PORT alone is one of scheme http, as
// everywhere. Its error does not repeat the URL, which may hold a password.
func parse(named string) (*Proxy, error) {
	u, err := url.Parse(named)
	if err != nil || u.Scheme == "" || u.Host == "" {
		if u, err = url.Parse("http://" + named); err != nil {
			return nil, errors.New("this is no URL")
		}
	}
	port := u.Port()
	switch {
	case u.Scheme == "http":
		port = cmp.Or(port, "80")
	case u.Scheme == "https":
		port = cmp.Or(port, "443")
	default:
		return nil, fmt.Errorf("a proxy of scheme %.20q is not spoken to, only http and https", u.Scheme)
	}
	if u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q names no proxy", u.Redacted())
	}
	return &Proxy{at: u, addr: net.JoinHostPort(u.Hostname(), port)}, nil
}
