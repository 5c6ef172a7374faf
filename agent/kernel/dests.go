package kernel

import (
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// dests are the destinations of routes that we made, or were asked to make. A
// foreign route to one of them, or into it, stands in the way or draws traffic
// off: that it comes or goes is news. It is safe for concurrent use.
type dests struct {
	mu     sync.Mutex
	wanted map[netip.Prefix]bool
}

// told notes a route that should be there, or no more.
func (d *dests) told(p netip.Prefix, there bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wanted == nil {
		d.wanted = map[netip.Prefix]bool{}
	}
	if there {
		d.wanted[p] = true
	} else {
		delete(d.wanted, p)
	}
}

// holds tells whether a destination is, or lies in, one of ours.
func (d *dests) holds(p netip.Prefix) bool {
	if !p.IsValid() {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for bits := p.Bits(); bits > 0 && len(d.wanted) > 0; bits-- {
		if d.wanted[netip.PrefixFrom(p.Addr(), bits).Masked()] {
			return true
		}
	}
	return false
}

// routeDst is the destination of a route of the main table, as struct rtmsg and
// RTA_DST give it.
func routeDst(b []byte) netip.Prefix {
	var dst netip.Prefix
	if b[4] != unix.RT_TABLE_MAIN {
		return dst
	}
	_ = each(b[unix.SizeofRtMsg:], func(typ uint16, v []byte) {
		if a, ok := netip.AddrFromSlice(v); ok && typ == unix.RTA_DST {
			dst = netip.PrefixFrom(a, int(b[1]))
		}
	})
	return dst
}
