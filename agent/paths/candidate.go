package paths

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/proto/intent"
)

// Bounds of what a node says of itself.
const (
	maxOfSlot = 24 // candidates
	maxOfPeer = 4  // that peers have seen, of one slot and family: the newest

	echoStands = 90 * time.Second // more than two rounds of asking
	peerStands = 3 * time.Minute
)

// found is a candidate that stands until it is found no more.
type found struct {
	intent.Candidate
	until time.Time
}

// pool is what echo and peers have said, each with its expiry. What interfaces and the
// operator say stands as long as they say it, and is not here.
type pool struct{ list []found }

// put adds a candidate, or has it stand longer. It answers whether there is another
// now.
func (p *pool) put(c intent.Candidate, now time.Time) bool {
	stands := peerStands
	if c.Source == intent.FromEcho {
		stands = echoStands
	}
	i := slices.IndexFunc(p.list, func(f found) bool { return f.Candidate == c })
	if i >= 0 {
		p.list[i].until = now.Add(stands)
		return false
	}
	p.list = append(p.list, found{c, now.Add(stands)})
	p.crowd(c)
	return true
}

// crowd drops the oldest that peers have said beyond maxOfPeer, or the servers beyond
// two: each of the two echoes may have seen another.
func (p *pool) crowd(c intent.Candidate) {
	most := maxOfPeer
	if c.Source == intent.FromEcho {
		most = 2
	}
	alike := func(f found) bool {
		return f.Source == c.Source && f.Slot == c.Slot && f.Addr.Addr().Is4() == c.Addr.Addr().Is4()
	}
	n, oldest := 0, -1
	for i, f := range p.list {
		if alike(f) {
			if n++; oldest < 0 || f.until.Before(p.list[oldest].until) {
				oldest = i
			}
		}
	}
	if n > most {
		p.list = slices.Delete(p.list, oldest, oldest+1)
	}
}

// moved tells whether what a peer has seen is a router that an echo has seen as well,
// with another port. There may be few of them: a router that gives each peer a port of
// its own would else have the node say something new with each answer.
func (p *pool) moved(c intent.Candidate) bool {
	echoed, n := false, 0
	for _, f := range p.list {
		switch {
		case f.Slot != c.Slot:
		case f.Candidate == c:
			return true
		case f.Source == intent.FromEcho:
			echoed = echoed || f.Addr.Addr() == c.Addr.Addr()
		case f.Source == intent.FromPeer && f.Addr.Addr().Is4() == c.Addr.Addr().Is4():
			n++
		}
	}
	return echoed && n < maxOfPeer
}

// expire drops what has ended, and answers whether there was any, and when the next
// ends; zero: none is there.
func (p *pool) expire(now time.Time) (dropped bool, next time.Time) {
	n := len(p.list)
	p.list = slices.DeleteFunc(p.list, func(f found) bool { return !now.Before(f.until) })
	for _, f := range p.list {
		if next.IsZero() || f.until.Before(next) {
			next = f.until
		}
	}
	return len(p.list) != n, next
}

// known is what candidates are made of.
type known struct {
	cluster  intent.Cluster
	slots    []intent.Slot
	external []netip.Addr
	addrs    []netip.Addr
	found    []found
}

// candidates lists them in the node's order: what the operator said, its own addresses,
// what others have seen. Where a server sees the node's stream come from, it says itself. An address and port is there once, by the first who says it.
func (k known) candidates() []intent.Candidate {
	var out []intent.Candidate
	seen := slices.SortedFunc(slices.Values(k.found), func(a, b found) int { return a.Addr.Compare(b.Addr) }) // in whatever order they came
	for _, s := range k.slots {
		var list []intent.Candidate
		add := func(source intent.Source, a netip.AddrPort) {
			c := intent.Candidate{Addr: a, Slot: s.Slot, Source: source}
			known := slices.ContainsFunc(list, func(o intent.Candidate) bool { return o.Addr == a })
			// What the operator said wrong is for the server to refuse, where it is seen.
			bad := !usable(a.Addr()) || inside(k.cluster, a.Addr()) && source != intent.FromExternal
			if !known && !bad && len(list) < maxOfSlot {
				list = append(list, c)
			}
		}
		for _, a := range k.external {
			add(intent.FromExternal, netip.AddrPortFrom(a, s.Port))
		}
		for _, a := range k.addrs {
			add(intent.FromInterface, netip.AddrPortFrom(a, s.Port))
		}
		for _, source := range []intent.Source{intent.FromEcho, intent.FromPeer} {
			for _, f := range seen {
				if f.Source == source && f.Slot == s.Slot {
					add(source, f.Addr)
				}
			}
		}
		out = append(out, list...)
	}
	return out
}

// usable tells whether an address can be a candidate: a server refuses a report with
// another.
func usable(a netip.Addr) bool {
	_, _, special := egress.Special(a)
	return a.IsValid() && a.Zone() == "" && !a.Is4In6() && !special
}

// inside tells whether an address belongs to pods or services, which no datagram of a
// device can be sent to.
func inside(c intent.Cluster, a netip.Addr) bool {
	in := func(p netip.Prefix) bool { return p.Contains(a) }
	return slices.ContainsFunc(c.CIDRs, in) || slices.ContainsFunc(c.ServiceCIDRs, in)
}
