package check

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/weft-net/weft/agent/host"
	"github.com/weft-net/weft/agent/proxy"
	"github.com/weft-net/weft/proto/intent"
)

// Results of a check.
const (
	OK   = "ok"
	Warn = "warn"
	Fail = "FAIL"
)

// Check is one thing that was tested.
type Check struct {
	Result  string
	Subject string
	Found   string
	Remedy  string // empty: nothing is to be done
}

// String is the check as a line.
func (c Check) String() string {
	line := fmt.Sprintf("%-5s %s: %s", c.Result, c.Subject, c.Found)
	if c.Remedy != "" {
		line += " -> " + c.Remedy
	}
	return line
}

func ok(subject, found string, args ...any) Check {
	return Check{Result: OK, Subject: subject, Found: fmt.Sprintf(found, args...)}
}

func fail(subject, remedy, found string, args ...any) Check {
	return Check{Result: Fail, Subject: subject, Remedy: remedy, Found: fmt.Sprintf(found, args...)}
}

func warn(subject, remedy, found string, args ...any) Check {
	return Check{Result: Warn, Subject: subject, Remedy: remedy, Found: fmt.Sprintf(found, args...)}
}

// Node is what is to be tested.
type Node struct {
	Node     host.Node  // underlay as chosen; the cluster's settings, or their defaults
	Facts    host.Facts // of the host
	Chosen   error      // of the choice of addresses
	Joined   error      // of the tailnet whose addresses are the node's
	Running  bool       // an agent runs: its ports are its own
	Servers  []string   // HOST:PORT
	Greet    func(ctx context.Context, server string) (Greeting, error)
	Token    func(ctx context.Context, server string) error // whether the node could join; nil: it has, or has no token
	Metrics  string                                         // HOST:PORT, or empty
	DataDir  string
	CNIDir   string           // empty: none was found
	Bound    string           // file that bounds what servers may dial; empty: there is none
	Unbound  []intent.Problem // with it
	Kernel   string           // release
	Resolver func(ctx context.Context, host string) ([]string, error)
	Proxy    func(server string) *proxy.Proxy // through which it is reached; nil: none
	Log      *slog.Logger
}

// Run makes all checks, in the order in which things are needed.
func Run(ctx context.Context, n Node) []Check {
	var out []Check
	out = append(out, n.features()...)
	out = append(out, n.addresses()...)
	out = append(out, n.ports()...)
	out = append(out, n.findings()...)
	out = append(out, n.folders()...)
	out = append(out, n.bound()...)
	return append(out, n.servers(ctx)...)
}

// Print writes a line a check and tells whether none failed.
func Print(w io.Writer, checks []Check) bool {
	good := true
	for _, c := range checks {
		fmt.Fprintln(w, c)
		good = good && c.Result != Fail
	}
	return good
}

// addresses are those that carry the fabric, and whether its packets fit.
func (n Node) addresses() []Check {
	var out []Check
	for _, u := range n.Node.Underlay {
		fits := u.MTU - n.Node.Cluster.Overhead(u.Addr.Addr().Is4())
		c := ok("address", "%v on %s, mtu %d: %d for pods", u.Addr, u.Device, u.MTU, fits)
		if fits < intent.MinMTU6 {
			c = warn("address", "ip link set "+u.Device+" mtu 1500", "%v on %s, mtu %d: the %d for pods are too few for IPv6 (%d)", u.Addr, u.Device, u.MTU, fits, intent.MinMTU6)
		}
		out = append(out, c)
	}
	switch {
	case n.Joined != nil:
		out = append(out, fail("address", "tailscale status; the node's address is that of its tailnet, as --vpn-auth is given", "%v", n.Joined))
	case n.Chosen != nil:
		out = append(out, fail("address", "name one with --node-ip or --iface", "%s", strings.TrimPrefix(n.Chosen.Error(), "underlay: ")))
	}
	return out
}

// findings are what package host has to say, or that it has nothing.
func (n Node) findings() []Check {
	var out []Check
	for _, f := range host.Findings(n.Node, n.Facts) {
		c := warn(f.Subject, f.Remedy, "%s", f.Cause)
		if f.Severity == host.Fault {
			c.Result = Fail
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		out = append(out, ok("host", "no firewall, setting or daemon stands in the way"))
	}
	return out
}
