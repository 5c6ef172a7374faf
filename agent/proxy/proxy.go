package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/weft-net/weft/proto/connect"
)

// Proxy is one proxy.
type Proxy struct {
	at    *url.URL
	addr  string
	roots *x509.CertPool // of a proxy of scheme https; nil: the system's
}

// Addr is where to dial it, HOST:PORT.
func (p *Proxy) Addr() string { return p.addr }

// String is its URL without credentials.
func (p *Proxy) String() string { return p.at.Scheme + "://" + p.addr }

// Connect asks the proxy, at the other end of conn, for a connection to a server,
// HOST:PORT. It closes conn if that fails. The error is an *Error.
func (p *Proxy) Connect(ctx context.Context, conn net.Conn, server string) (net.Conn, error) {
	through, err := p.connect(ctx, conn, server)
	if err != nil {
		_ = conn.Close()
		return nil, p.Explain(server, err)
	}
	return through, nil
}

func (p *Proxy) connect(ctx context.Context, conn net.Conn, server string) (net.Conn, error) {
	if p.at.Scheme == "https" {
		inside := tls.Client(conn, &tls.Config{
			MinVersion: tls.VersionTLS12, ServerName: p.at.Hostname(), NextProtos: []string{"http/1.1"}, RootCAs: p.roots,
		})
		if err := inside.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS with the proxy: %w", err)
		}
		conn = inside
	}
	header := http.Header{"User-Agent": {"weft"}}
	if u := p.at.User; u != nil {
		password, _ := u.Password()
		header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	return connect.Ask(ctx, conn, server, header)
}

// Error is a connection that did not come about through a proxy.
type Error struct {
	Proxy  string // its URL, without credentials
	Server string // HOST:PORT
	Remedy string // what to do
	err    error
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("proxy: %s to server %s: %v", e.Proxy, e.Server, e.err)
}

func (e *Error) Unwrap() error { return e.err }

// Decided says that the proxy answered, and that only a person changes its answer.
func (e *Error) Decided() bool {
	r := (*connect.Refusal)(nil)
	if !errors.As(e.err, &r) {
		return false
	}
	switch r.Status {
	case http.StatusProxyAuthRequired, http.StatusForbidden, http.StatusUnauthorized, http.StatusMethodNotAllowed, http.StatusBadRequest, http.StatusNotImplemented:
		return true
	}
	return false
}

// Explain puts what failed on the way through the proxy into words.
func (p *Proxy) Explain(server string, err error) *Error {
	e := &Error{Proxy: p.String(), Server: server, err: err}
	r := (*connect.Refusal)(nil)
	status := 0
	if errors.As(err, &r) {
		status = r.Status
	}
	switch status {
	case http.StatusProxyAuthRequired:
		e.Remedy = "put a user and password that the proxy takes into " + variable + ", as http://USER:PASSWORD@" + p.addr
		if p.at.User != nil {
			e.Remedy += "; it refuses those that are there"
		}
	case http.StatusForbidden, http.StatusUnauthorized, http.StatusMethodNotAllowed, http.StatusBadRequest, http.StatusNotImplemented:
		e.Remedy = "have the proxy allow CONNECT to " + server + " (many allow port 443 only), or name the server in NO_PROXY if it can be reached directly"
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		e.Remedy = "the proxy does not reach " + server + ": look at the server, and at what drops its port behind the proxy"
	default:
		e.Remedy = "look at the proxy, and whether " + variable + " is right; or name the server in NO_PROXY if it can be reached directly"
	}
	return e
}
