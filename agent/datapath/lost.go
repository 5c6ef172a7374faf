package datapath

import (
	"net/netip"
	"strings"
)

// lost is what the kernel drops by itself when something else goes, or must let
// go before something else can be made anew.
type lost struct {
	devs   map[string]bool     // made anew: all that rests on them
	down   map[string]bool     // were down: routes and IPv6 addresses
	moved  map[string]bool     // get another MAC: neighbours
	addrs  map[netip.Addr]bool // missing: routes with this preferred source
	sets   map[string]bool     // made anew: their elements, rules that name them
	chains map[string]bool     // likewise: their rules, jumps to them
}

func (p *plan) findLost() {
	p.lost = lost{
		devs: map[string]bool{}, down: map[string]bool{}, moved: map[string]bool{},
		addrs: map[netip.Addr]bool{}, sets: map[string]bool{}, chains: map[string]bool{},
	}
	for k, w := range p.want {
		h := p.have[k]
		switch w := w.(type) {
		case Link:
			old, ok := h.(Link)
			p.lost.devs[w.Name] = !ok || w.MustRemake(old)
			p.lost.down[w.Name] = ok && old.Down
			p.lost.moved[w.Name] = ok && w.MAC != (MAC{}) && w.MAC != old.MAC
		case Addr:
			p.lost.addrs[w.Prefix.Addr()] = p.lost.addrs[w.Prefix.Addr()] || h == nil // of two devices, maybe
		case Set:
			p.lost.sets[w.Name] = h != Object(w)
		case Chain:
			p.lost.chains[w.Name] = h != Object(w)
		}
	}
	// An IPv6 address goes down with its device.
	for k, w := range p.want {
		if a, ok := w.(Addr); ok && p.have[k] != nil && p.lost.has(a) {
			p.lost.addrs[a.Prefix.Addr()] = true
		}
	}
}

// has tells whether an object that have holds is not, or will not stay.
func (l lost) has(o Object) bool {
	switch o := o.(type) {
	case Addr:
		return l.devs[o.Dev] || l.down[o.Dev] && o.Prefix.Addr().Is6()
	case Neigh:
		return l.devs[o.Dev] || l.moved[o.Dev]
	case FDB:
		return l.devs[o.Dev]
	case WGPeer:
		return l.devs[o.Dev]
	case Route:
		return l.devs[o.Dev] || l.down[o.Dev] || l.addrs[o.Src]
	case Sysctl:
		return l.devs[o.Dev()]
	case Set:
		return l.sets[o.Name]
	case Chain:
		return l.chains[o.Name]
	case Element:
		return l.sets[o.Set] || l.chains[target(o.Data)]
	case Rule:
		return l.chains[o.Chain] || l.names(o)
	}
	return false
}

// names tells whether a rule refers to a set or chain that is made anew.
func (l lost) names(r Rule) bool {
	for _, m := range r.Match {
		if set, ok := strings.CutPrefix(m.Value, "@"); ok && l.sets[set] {
			return true
		}
	}
	for _, a := range r.Do {
		switch {
		case (a.Verb == Jump || a.Verb == Goto) && l.chains[a.Arg]:
			return true
		case strings.HasPrefix(a.Arg, "@") && l.sets[a.Arg[1:]]:
			return true
		}
	}
	return false
}

// target is the chain that a verdict names, or nothing.
func target(verdict string) string {
	if verb, chain, ok := strings.Cut(verdict, " "); ok && (verb == string(Jump) || verb == string(Goto)) {
		return chain
	}
	return ""
}

// MustRemake tells whether the kernel cannot turn a device into what is wanted.
// A VXLAN device keeps its VNI, its port and the family of its local address
// for life; the address itself can change (Linux, drivers/net/vxlan/vxlan_core.c,
// vxlan_changelink).
func (l Link) MustRemake(have Link) bool {
	if l.Type != have.Type {
		return true
	}
	v, h := l.VXLAN, have.VXLAN
	return l.Type == LinkVXLAN && (v.VNI != h.VNI || v.Port != h.Port || v.Local.Is4() != h.Local.Is4())
}
