package datapath

import (
	"fmt"
	"strconv"
	"strings"
)

// String is what an operator would type: ip link syntax.
func (l Link) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "link %s type %s", l.Name, l.Type)
	if l.Type == LinkVXLAN {
		v := l.VXLAN
		fmt.Fprintf(&b, " id %d local %v dstport %d nolearning", v.VNI, v.Local, v.Port)
		if v.CheckOff {
			b.WriteString(" tx-checksum off")
		}
	}
	if l.Type == LinkWG {
		fmt.Fprintf(&b, " public-key %v listen-port %d", l.WG.Key, l.WG.Port)
		if l.WG.Mark != 0 {
			fmt.Fprintf(&b, " fwmark %#x", l.WG.Mark)
		}
	}
	if l.MAC != (MAC{}) {
		fmt.Fprintf(&b, " address %v", l.MAC)
	}
	if l.MTU != 0 {
		fmt.Fprintf(&b, " mtu %d", l.MTU)
	}
	if l.Down {
		return b.String() + " down"
	}
	return b.String() + " up"
}

// String is wg set syntax. Of a pre-shared key it tells which, not what.
func (p WGPeer) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "wg %s peer %v", p.Dev, p.Peer)
	if p.PSK != ([32]byte{}) {
		fmt.Fprintf(&b, " preshared-key sha256:%x", p.PSK[:4])
	}
	if p.Endpoint.IsValid() {
		fmt.Fprintf(&b, " endpoint %v", p.Endpoint)
	}
	if p.Keepalive != 0 {
		fmt.Fprintf(&b, " persistent-keepalive %d", p.Keepalive)
	}
	return b.String() + " allowed-ips " + p.Allowed
}

// String is ip address syntax.
func (a Addr) String() string {
	if a.Peer.IsValid() {
		return fmt.Sprintf("addr %v peer %v dev %s noprefixroute", a.Prefix.Addr(), a.Peer, a.Dev)
	}
	s := fmt.Sprintf("addr %v dev %s", a.Prefix, a.Dev)
	if a.Prefix.Addr().Is6() {
		s += " nodad"
	}
	return s
}

// String is ip route syntax.
func (r Route) String() string {
	var b strings.Builder
	b.WriteString("route ")
	if r.Type != RouteNormal {
		b.WriteString(r.Type + " ")
	}
	b.WriteString(r.Dst.String())
	if r.Via.IsValid() {
		fmt.Fprintf(&b, " via %v", r.Via)
	}
	if r.Dev != "" {
		fmt.Fprintf(&b, " dev %s", r.Dev)
	}
	fmt.Fprintf(&b, " proto %d", RouteProto)
	if r.Src.IsValid() {
		fmt.Fprintf(&b, " src %v", r.Src)
	}
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	if r.MTU != 0 {
		fmt.Fprintf(&b, " mtu %d", r.MTU)
	}
	if r.OnLink {
		b.WriteString(" onlink")
	}
	return b.String()
}

// String is ip neighbour syntax.
func (n Neigh) String() string {
	return fmt.Sprintf("neigh %v lladdr %v dev %s nud permanent", n.IP, n.MAC, n.Dev)
}

// String is bridge fdb syntax.
func (f FDB) String() string {
	return fmt.Sprintf("fdb %v dev %s dst %v self permanent", f.MAC, f.Dev, f.Dst)
}

// String is sysctl syntax.
func (s Sysctl) String() string { return fmt.Sprintf("sysctl %s=%s", s.Path, s.Value) }

// String is nft syntax.
func (s Set) String() string {
	what, typ := "set", s.Type
	if s.Data != "" {
		what, typ = "map", s.Type+" : "+s.Data
	}
	flags := ""
	if s.Interval {
		flags = " flags interval;"
	}
	return fmt.Sprintf("%s %s { type %s;%s }", what, s.Name, typ, flags)
}

// String is nft syntax.
func (e Element) String() string {
	if e.Data != "" {
		return fmt.Sprintf("element %s { %s : %s }", e.Set, e.Elem, e.Data)
	}
	return fmt.Sprintf("element %s { %s }", e.Set, e.Elem)
}

// String is nft syntax.
func (c Chain) String() string {
	if c.Hook == "" {
		return "chain " + c.Name
	}
	return fmt.Sprintf("chain %s { type %s hook %s priority %d; policy accept; }", c.Name, c.Type, c.Hook, c.Priority)
}

// String names the chain and the index, then the rule as Text.
func (r Rule) String() string { return fmt.Sprintf("rule %s %d %s", r.Chain, r.Index, r.Text()) }

// Text is the rule in nft syntax. Its hash is the rule's identity in the kernel.
func (r Rule) Text() string {
	var words []string
	for _, m := range r.Match {
		if m.Field != "" {
			words = append(words, m.text())
		}
	}
	for _, a := range r.Do {
		if a.Verb != "" {
			words = append(words, a.text())
		}
	}
	if r.Comment != "" {
		words = append(words, fmt.Sprintf("comment %q", r.Comment))
	}
	return strings.Join(words, " ")
}

// String names a rule that is not ours by its handle: all that deleting it needs.
func (r ForeignRule) String() string {
	return fmt.Sprintf("rule %s handle %d (not weft's)", r.Chain, r.Handle)
}

// String is nft syntax.
func (Dormant) String() string { return "table inet " + Table + " { flags dormant; }" }

func (m Match) text() string {
	not, value := "", m.Value
	if m.Not {
		not = "!= "
	}
	switch m.Field {
	case IIfName, OIfName:
		value = fmt.Sprintf("%q", m.Value)
	case Mark, CTMark:
		if v, mask, ok := strings.Cut(m.Value, "/"); ok {
			return fmt.Sprintf("%s & %s %s %s", m.Field, mask, equals(m.Not), v)
		}
	case TCPFlags:
		return fmt.Sprintf("%s %s %s", m.Field, equals(m.Not), m.Value)
	}
	return fmt.Sprintf("%s %s%s", m.Field, not, value)
}

func equals(not bool) string {
	if not {
		return "!="
	}
	return "=="
}

func (a Action) text() string {
	switch a.Verb {
	case SetMark, SetCTMark:
		field := strings.TrimSuffix(string(a.Verb), " set")
		if v, mask, ok := strings.Cut(a.Arg, "/"); ok {
			keep, _ := strconv.ParseUint(mask, 0, 32)
			return fmt.Sprintf("%s %s & %#x | %s", a.Verb, field, ^uint32(keep), v)
		}
	}
	if a.Arg == "" {
		return string(a.Verb)
	}
	return string(a.Verb) + " " + a.Arg
}
