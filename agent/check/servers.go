package check

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"
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
	if _, err := netip.ParseAddr(host); err != nil {
		addrs, err := n.Resolver(ctx, host)
		if err != nil || len(addrs) == 0 {
			return append(out, fail("server "+s, "getent hosts "+host, "the name cannot be resolved: %v", err))
		}
		out = append(out, ok("server "+s, "resolves to %s", strings.Join(addrs, ", ")))
	}
	g, err := n.Greet(ctx, s)
	if err != nil {
		return append(out, fail("server "+s, "open TCP towards it, and check the token; on the server: systemctl status weft-server", "%v", err))
	}
	if g.Trusted == "" {
		return append(out, warn("server "+s, "give --token-file, so that it can be proved", "answers TLS; whose certificate it is was not proved: there is no token"))
	}
	return append(out, ok("server "+s, "answers TLS, proved by %s", g.Trusted))
}
