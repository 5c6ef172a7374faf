package check

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/weft-net/weft/agent/proxy"
)

// Greeting is what a server showed.
type Greeting struct {
	Trusted string    // by what its certificate was proved: "the token's pin", …; empty: by nothing
	Ends    time.Time // of its certificate
}

// patience bounds the questions to one server.
const patience = 5 * time.Second

// servers are resolved and greeted, each.
func (n Node) servers(ctx context.Context) []Check {
	var out []Check
	for _, s := range n.Servers {
		ctx, cancel := context.WithTimeout(ctx, patience)
		out = append(out, n.server(ctx, s)...)
		cancel()
	}
	if len(n.Servers) == 0 {
		out = append(out, warn("server", "--server https://HOST:7443", "none is given"))
	}
	return out
}

func (n Node) server(ctx context.Context, s string) []Check {
	var out []Check
	host, _, _ := net.SplitHostPort(s)
	if via := n.through(s); via != nil {
		out = append(out, ok("server "+s, "is reached through %s", via))
	} else if _, err := netip.ParseAddr(host); err != nil {
		addrs, err := n.Resolver(ctx, host)
		if err != nil || len(addrs) == 0 {
			return append(out, fail("server "+s, "getent hosts "+host, "the name cannot be resolved: %v", err))
		}
		out = append(out, ok("server "+s, "resolves to %s", strings.Join(addrs, ", ")))
	}
	g, err := n.Greet(ctx, s)
	if via := (*proxy.Error)(nil); errors.As(err, &via) {
		return append(out, fail("server "+s, via.Remedy, "%v", err))
	}
	if err != nil {
		return append(out, fail("server "+s, "open TCP towards it, and check the token; on the server: systemctl status weft-server", "%v", err))
	}
	if g.Trusted == "" {
		return append(out, warn("server "+s, "give --token-file, so that it can be proved", "answers TLS; whose certificate it is was not proved: there is no token"))
	}
	out = append(out, ok("server "+s, "answers TLS, proved by %s", g.Trusted))
	return append(out, n.token(ctx, s)...)
}

func (n Node) through(server string) *proxy.Proxy {
	if n.Proxy == nil {
		return nil
	}
	return n.Proxy(server)
}

// token is what a server says of the token that the node would join with.
func (n Node) token(ctx context.Context, s string) []Check {
	if n.Token == nil {
		return nil
	}
	err := n.Token(ctx, s)
	switch {
	case err == nil:
		return []Check{ok("token", "server %s would let this node join with it", s)}
	case errors.Is(err, errors.ErrUnsupported):
		return []Check{warn("token", "weft-agent tells it when it starts", "server %s is of an earlier release and cannot say whether it counts", s)}
	}
	return []Check{fail("token", "weft token create, on a server", "server %s: %v", s, err)}
}
