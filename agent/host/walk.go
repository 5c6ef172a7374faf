package host

import (
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-net/weft/agent/datapath"
)

// Packet is the first of a flow that the fabric needs.
type Packet struct {
	What     string // in words: "forwarded pod traffic"
	Hook     string // forward, input, output
	In, Out  string // devices; empty where there is none
	Src, Dst netip.Addr
	Proto    string // tcp, udp, icmp, ipv6-icmp
	Port     uint16 // destination
	Type     uint8  // of ICMP
	DNAT     bool   // its destination was translated
}

// Drop is where a packet ends.
type Drop struct {
	Chain string
	Rule  *datapath.FilterRule // nil: the chain's policy
}

// mostJumps bounds a walk; the kernel allows 16 (NFT_JUMP_STACK_SIZE).
const mostJumps = 16

// Walk tells where a firewall drops a packet. Each base chain of the packet's hook
// is walked: an accept ends only its own.
func Walk(f datapath.Filter, p Packet) (Drop, bool) {
	if f.Family == "ip" && !p.Src.Is4() || f.Family == "ip6" && p.Src.Is4() {
		return Drop{}, false
	}
	for _, c := range f.Chains {
		if c.Hook != p.Hook {
			continue
		}
		w := walk{filter: f, packet: p}
		switch w.chain(c, 0) {
		case "drop", "reject":
			return w.at, true
		case "":
			if c.Drop {
				return Drop{Chain: c.Name}, true
			}
		}
	}
	return Drop{}, false
}

type walk struct {
	filter datapath.Filter
	packet Packet
	at     Drop
}

// chain gives the verdict, or nothing when the chain came to its end.
func (w *walk) chain(c datapath.FilterChain, depth int) string {
	for i, r := range c.Rules {
		if !w.met(r) {
			continue
		}
		verb, target, _ := strings.Cut(r.Verdict, " ")
		switch verb {
		case "accept":
			return verb
		case "drop", "reject":
			w.at = Drop{Chain: c.Name, Rule: &c.Rules[i]}
			return verb
		case "return":
			return ""
		case "jump", "goto":
			next, ok := w.filter.Chain(target)
			if !ok || depth >= mostJumps {
				continue
			}
			if v := w.chain(next, depth+1); v != "" || verb == "goto" {
				return v
			}
		}
	}
	return ""
}

func (w *walk) met(r datapath.FilterRule) bool {
	return !slices.ContainsFunc(r.Match, func(m datapath.FilterMatch) bool { return !w.packet.meets(m) })
}

// meets tells whether a match holds; one that is not read does not.
func (p Packet) meets(m datapath.FilterMatch) bool {
	var is func(value string) bool
	switch m.Field {
	case "iifname":
		is = named(p.In)
	case "oifname":
		is = named(p.Out)
	case "nfproto":
		is = func(v string) bool { return (v == "ipv4") == p.Src.Is4() }
	case "l4proto":
		is = func(v string) bool { return v == p.Proto }
	case "saddr":
		is = holds(p.Src)
	case "daddr":
		is = holds(p.Dst)
	case "dport":
		is = inRange(p.Port)
	case "icmp type":
		is = inRange(uint16(p.Type))
	case "daddr type":
		is = func(v string) bool { return v == map[bool]string{true: "local", false: "unicast"}[p.Hook == "input"] }
	case "ct state":
		is = func(v string) bool { return v == "new" || v == "dnat" && p.DNAT }
	case "ct status":
		is = func(v string) bool { return v == "dnat" && p.DNAT }
	default:
		return false
	}
	return slices.ContainsFunc(m.Values, is) != m.Not
}

func named(dev string) func(string) bool {
	return func(pattern string) bool {
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
			return strings.HasPrefix(dev, prefix)
		}
		ok, _ := path.Match(pattern, dev)
		return dev != "" && (ok || pattern == dev)
	}
}

// holds tells whether an address, a prefix or a range holds an address.
func holds(a netip.Addr) func(string) bool {
	return func(v string) bool {
		if lo, hi, ok := strings.Cut(v, "-"); ok {
			l, lerr := netip.ParseAddr(lo)
			h, herr := netip.ParseAddr(hi)
			return lerr == nil && herr == nil && l.Compare(a) <= 0 && a.Compare(h) <= 0 && l.Is4() == a.Is4()
		}
		if p, err := netip.ParsePrefix(v); err == nil {
			return p.Contains(a)
		}
		b, err := netip.ParseAddr(v)
		return err == nil && a == b
	}
}

func inRange(port uint16) func(string) bool {
	return func(v string) bool {
		lo, hi, ok := strings.Cut(v, "-")
		if !ok {
			hi = lo
		}
		l, lerr := strconv.ParseUint(lo, 10, 16)
		h, herr := strconv.ParseUint(hi, 10, 16)
		return lerr == nil && herr == nil && uint64(port) >= l && uint64(port) <= h
	}
}
