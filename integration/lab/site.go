package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// NAT is what stands between a node and the others.
type NAT string

// Kinds of NAT, in the words of RFC 4787. All but Public let in only what answers.
const (
	Public     NAT = "public"     // nothing stands there
	Preserving NAT = "preserving" // a port is kept where it is free (section 4.2.1), so that it is the same for all destinations
	Symmetric  NAT = "symmetric"  // a port of chance for each destination (section 4.1)
	Answering  NAT = "answering"  // preserving, but what comes unasked is the router's own: it refuses it by ICMP, and holds its port for that source
	TCPOnly    NAT = "tcponly"    // symmetric, and nothing goes out but TCP to 443 and 7443
	Refusing   NAT = "refusing"   // WireGuard's ports are kept whatever happens: of two nodes with the same one, only the first is let out to a destination
	Beside     NAT = "+"          // the router of the node before
)

// Kinds are those of which a router before one node is, and Public.
func Kinds() []NAT { return []NAT{Public, Preserving, Symmetric, Answering, TCPOnly} }

// masquerade is nft's word for how ports are mapped. Without flags the kernel keeps
// a port unless the tuple is taken (net/netfilter/nf_nat_core.c, get_unique_tuple).
func (n NAT) masquerade() string {
	switch n {
	case Preserving, Answering:
		return "masquerade"
	case Refusing: // a mapping to a port that is taken is dropped when it is to be confirmed (nf_conntrack_core.c, nf_ct_resolve_clash)
		var kept []string
		for port := 51820; port < 51820+130; port++ {
			kept = append(kept, fmt.Sprintf("%d : %d", port, port))
		}
		return "udp sport 51820-51949 masquerade to : udp sport map { " + strings.Join(kept, ", ") + " }\n\t\toifname \"eth0\" masquerade"
	}
	return "masquerade random,fully-random"
}

// input is the policy of a router's chain for packets to itself. One that is accepted
// leaves an entry in the table of connections, whose port is taken from then on.
func (n NAT) input() string {
	if n == Answering {
		return "accept"
	}
	return "drop"
}

// stand makes the nodes, each where the layout says that it stands.
func (f *Fabric) stand(ctx context.Context) error {
	nats, out, err := f.stands(ctx)
	if err != nil {
		return err
	}
	beside := 0 // others behind the same router
	for i, kind := range nats {
		beside++
		if kind != Beside {
			beside = 0
		}
		if err := f.node(ctx, i, kind, beside, out); err != nil {
			return err
		}
	}
	return nil
}

// stands is what stands before each node, and nft's match of what goes out there.
func (f *Fabric) stands(ctx context.Context) (nats []NAT, out string, err error) {
	if nats := f.Layout.NATs; nats != nil {
		if len(nats) != f.Layout.Nodes {
			return nil, "", fmt.Errorf("lab: %d nodes stand behind %d kinds of NAT: name one for each", f.Layout.Nodes, len(nats))
		}
		return nats, "", f.routed(ctx)
	}
	if f.Layout.Behind > 0 {
		out, err = f.wayOut(ctx)
	}
	return append(slices.Repeat([]NAT{Public}, f.Layout.Nodes-f.Layout.Behind), slices.Repeat([]NAT{Symmetric}, f.Layout.Behind)...), out, err
}

// node makes node i, counted from 0, and its router where it has one of its own.
func (f *Fabric) node(ctx context.Context, i int, kind NAT, beside int, out string) error {
	sw, addrs, gateways := f.wire.ns, f.link(f.underlay(firstNode+i)), f.gateways()
	if kind != Public {
		lan := i + 1 - beside
		if f.Layout.SameLAN {
			lan = 1
		}
		if kind == TCPOnly {
			out = "tcp dport { 443, 7443 }"
		}
		r, err := f.routerFor(ctx, i, kind, lan, out)
		if err != nil {
			return err
		}
		sw, addrs, gateways = r.ns, f.hidden(lan, 2+beside), r.gateways
	}
	h, err := f.host(ctx, sw, fmt.Sprintf("n%d", i+1), f.Layout.MTU, addrs, gateways)
	f.Nodes = append(f.Nodes, h)
	return err
}

// routerFor makes the router before node i, or finds that of the node before.
func (f *Fabric) routerFor(ctx context.Context, i int, kind NAT, lan int, out string) (*Router, error) {
	n := len(f.Routers)
	switch {
	case kind == Beside && (n == 0 || f.Nodes[i-1].sw != f.Routers[n-1].ns):
		return nil, fmt.Errorf("lab: n%d is beside a node that has no router", i+1)
	case kind == Beside:
		return f.Routers[n-1], nil
	case kind != Refusing && !slices.Contains(Kinds(), kind):
		return nil, fmt.Errorf("lab: no kind of NAT %q; there are %v, and + for the router of the node before", kind, Kinds())
	}
	r, err := f.Router(ctx, fmt.Sprintf("r%d", i+1), f.Layout.MTU, kind, f.link(f.underlay(firstRouter+n)), f.hidden(lan, 1), f.gateways(), out)
	if err == nil {
		f.Routers = append(f.Routers, r)
	}
	return r, err
}

// routed lets s1 forward between hosts that share no link. It must not tell them that
// they do, and stands for some more hops than its own: a packet that is to open the
// sender's router and to go no farther has as many as it takes to die on the way.
func (f *Fabric) routed(ctx context.Context) error {
	if err := f.Server.forwards(ctx); err != nil {
		return err
	}
	return f.Server.ruleset(ctx, `
table inet lab {
	chain output {
		type filter hook output priority 0;
		icmp type redirect drop
		icmpv6 type nd-redirect drop
	}
	chain forward {
		type filter hook forward priority 0;
		ip ttl < 6 drop
		ip6 hoplimit < 6 drop
	}
}
`)
}

// link is what addresses a host has on the switch: with NATs, no network's.
func (f *Fabric) link(addrs []netip.Prefix) []netip.Prefix {
	if f.Layout.NATs == nil {
		return addrs
	}
	var out []netip.Prefix
	for _, a := range addrs {
		out = append(out, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
	}
	return out
}

// hidden gives the addresses of a host in a network behind a router.
func (f *Fabric) hidden(network, host int) []netip.Prefix {
	var out []netip.Prefix
	for _, family := range f.Layout.Under {
		switch family {
		case '4':
			out = append(out, netip.MustParsePrefix(fmt.Sprintf("192.168.%d.%d/24", network, host)))
		case '6':
			out = append(out, netip.MustParsePrefix(fmt.Sprintf("fd19:%x::%x/64", network, host)))
		}
	}
	return out
}

// RouterOf is the router before a node, if there is one.
func (f *Fabric) RouterOf(h *Host) (*Router, bool) {
	for _, r := range f.Routers {
		if r.ns == h.sw {
			return r, true
		}
	}
	return nil, false
}

// Outside is the host whose addresses others see: the node, or its router.
func (f *Fabric) Outside(h *Host) *Host {
	if r, ok := f.RouterOf(h); ok {
		return r.Host
	}
	return h
}
