package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Out is what a router lets out of the network behind it.
type Out string

// What routers let out.
const (
	Anything  Out = ""      // whatever begins inside
	OnlyHTTPS Out = "443"   // TCP to port 443
	OnlyWeft  Out = "7443"  // TCP to port 7443
	OnlyProxy Out = "proxy" // TCP to the proxy of the lab, and nothing else
)

// Router hides a network: what begins behind it goes out under the router's
// address, what begins outside never comes in.
type Router struct {
	*Host
	gateways []netip.Addr // its own addresses on the inside
}

// Router makes one of a kind between the switch and a bridge of its own. It lets out
// what an nft match says, all if there is none.
func (l *Lab) Router(ctx context.Context, name string, mtu int, kind NAT, outside, inside []netip.Prefix, gateways []netip.Addr, out string) (*Router, error) {
	h, err := l.Host(ctx, name, mtu, outside, gateways)
	if err != nil {
		return nil, err
	}
	r := &Router{Host: h}
	steps := [][]string{{"link", "add", "br0", "type", "bridge", "mcast_snooping", "0"}, {"link", "set", "br0", "up"}}
	for _, p := range inside {
		r.gateways = append(r.gateways, p.Addr())
		steps = append(steps, []string{"addr", "add", p.String(), "dev", "br0"})
	}
	for _, step := range steps {
		if err := ip(ctx, append([]string{"-n", h.ns}, step...)...); err != nil {
			return nil, err
		}
	}
	if err := h.forwards(ctx); err != nil {
		return nil, err
	}
	return r, errors.Join(h.ruleset(ctx, fmt.Sprintf(routerRules, out, kind.input(), kind.masquerade())), h.addressed(ctx))
}

// forwards lets the host forward packets of both families.
func (h *Host) forwards(ctx context.Context) error {
	_, err := h.Run(ctx, "sh", "-c", `echo 1 >/proc/sys/net/ipv4/ip_forward && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding`)
	return err
}

// routerRules is what a router is, less what it lets out, what becomes of packets to
// itself that nobody asked for, and how it maps ports. ICMPv6 is accepted: the
// router's neighbours must find it.
const routerRules = `
table inet router {
	chain forward {
		type filter hook forward priority 0; policy drop;
		ct state established,related accept
		iifname "br0" %s accept
	}
	chain input {
		type filter hook input priority 0; policy %s;
		ct state established,related accept
		meta l4proto { icmp, ipv6-icmp } accept
		iifname { "br0", "lo" } accept
	}
	chain postrouting {
		type nat hook postrouting priority 100;
		oifname "eth0" %s
	}
}
`

// ruleset loads nft's text in the host's namespace.
func (h *Host) ruleset(ctx context.Context, text string) error {
	cmd := h.Command(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("lab: nft on %s: %w: %s", h.Name, err, out)
	}
	return nil
}

// wayOut is nft's match of what the layout's routers let out.
func (f *Fabric) wayOut(ctx context.Context) (string, error) {
	switch f.Layout.Out {
	case Anything:
		return "", nil
	case OnlyHTTPS, OnlyWeft:
		return "tcp dport " + string(f.Layout.Out), nil
	case OnlyProxy:
		var err error
		f.Proxy, err = f.Host(ctx, "p1", f.Layout.MTU, f.underlay(proxyHost), f.gateways())
		var to []string
		for _, p := range f.underlay(proxyHost) {
			family := "ip6"
			if p.Addr().Is4() {
				family = "ip"
			}
			to = append(to, family+" daddr "+p.Addr().String())
		}
		return to[0] + " tcp dport " + ProxyPort, err // the family that is preferred
	}
	return "", fmt.Errorf("lab: no way out %q: 443, 7443, proxy, or none for anything", f.Layout.Out)
}
