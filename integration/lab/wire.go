package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Lose drops so many percent of the packets from one host to another that an nft
// match is true of, all if there is none, before they leave the wire of the first.
// It goes by the addresses that both have now, of their routers if they have some.
func (f *Fabric) Lose(ctx context.Context, from, to *Host, percent int, match string) error {
	if percent < 1 || percent > 100 {
		return fmt.Errorf("lab: %d percent cannot be lost: 1 to 100", percent)
	}
	return f.drop(ctx, from, to, fmt.Sprintf("%s numgen random mod 100 <= %d", match, percent-1))
}

// Swallow drops the packets from one host to another that are longer than so many
// bytes, and tells nobody: a path with a smaller MTU whose ICMP is lost (RFC 2923).
func (f *Fabric) Swallow(ctx context.Context, from, to *Host, bytes int) error {
	// What is segmented later than here would look longer than it is.
	for _, h := range []*Host{from, f.Outside(from)} {
		if _, err := h.Run(ctx, "ethtool", "-K", "eth0", "tso", "off", "gso", "off", "tx-udp-segmentation", "off"); err != nil {
			return err
		}
	}
	return f.drop(ctx, from, to, fmt.Sprintf("meta length > %d", bytes))
}

// Pass ends what Lose and Swallow began between two hosts, in that direction.
func (f *Fabric) Pass(ctx context.Context, from, to *Host) error {
	w := f.between(from, to)
	_, err := w.on.Run(ctx, "nft", "delete", "table", "bridge", w.table)
	return err
}

// crossing is where packets from one host to another are seen first.
type crossing struct {
	on       *Host // of whose namespace it is
	port     string
	table    string // of what happens to them there
	from, to []netip.Prefix
}

// between finds the crossing: the router's bridge if it is one router for both, else
// the switch.
func (f *Fabric) between(from, to *Host) crossing {
	c := crossing{on: f.wire, table: from.Name + "_" + to.Name}
	if r, ok := f.RouterOf(from); ok && from.sw == to.sw {
		c.on = r.Host
	} else {
		from, to = f.Outside(from), f.Outside(to)
	}
	c.port, c.from, c.to = from.port, from.addrs, to.addrs
	return c
}

// drop adds a rule for each family.
func (f *Fabric) drop(ctx context.Context, from, to *Host, match string) error {
	c := f.between(from, to)
	var rules strings.Builder
	fmt.Fprintf(&rules, "table bridge %s {\n chain forward {\n  type filter hook forward priority 0;\n", c.table)
	for _, is4 := range []bool{true, false} {
		word, other := "ip6", func(p netip.Prefix) bool { return p.Addr().Is4() != is4 }
		if is4 {
			word = "ip"
		}
		src, dst := slices.DeleteFunc(slices.Clone(c.from), other), slices.DeleteFunc(slices.Clone(c.to), other)
		if len(src) > 0 && len(dst) > 0 {
			fmt.Fprintf(&rules, "  iifname %q %s saddr { %s } %[2]s daddr { %[4]s } %s counter drop\n", c.port, word, list(src), list(dst), match)
		}
	}
	rules.WriteString(" }\n}\n")
	return c.on.ruleset(ctx, rules.String())
}

// list is an nft set's elements.
func list(addrs []netip.Prefix) string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.Addr().String())
	}
	return strings.Join(out, ", ")
}

// Roam gives the host other addresses on its network: new before old, as a network
// manager does. It can be done twice.
func (h *Host) Roam(ctx context.Context) error {
	// Else an address goes along with the older one of its network (ip-sysctl.rst,
	// promote_secondaries).
	if _, err := h.Run(ctx, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/eth0/promote_secondaries"); err != nil {
		return err
	}
	for i, old := range h.addrs {
		b := old.Addr().AsSlice()
		b[len(b)-1] += 80 // farther than a lab has hosts of a kind
		addr, _ := netip.AddrFromSlice(b)
		h.addrs[i] = netip.PrefixFrom(addr, old.Bits())
		for _, step := range [][]string{{"add", h.addrs[i].String()}, {"del", old.String()}} {
			if err := ip(ctx, "-n", h.ns, "addr", step[0], step[1], "dev", "eth0"); err != nil {
				return err
			}
		}
	}
	return h.addressed(ctx)
}
