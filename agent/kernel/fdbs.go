package kernel

import (
	"net/netip"
	"sync"

	"github.com/weft-net/weft/agent/datapath"
)

// fdbs is what the forwarding entries of our VXLAN devices are, as far as we
// know. Their events do not say who caused them (vxlan_fdb_notify gives port id
// 0), so one that tells what is known already is taken for our own. It is safe
// for concurrent use.
type fdbs struct {
	mu      sync.Mutex
	looking int // lists under way: what is known is about to be replaced
	dst     map[fdbKey]netip.Addr
}

type fdbKey struct {
	dev string
	mac datapath.MAC
}

// told notes an entry that we are about to make, or to delete.
func (f *fdbs) told(o datapath.FDB, there bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dst == nil {
		f.dst = map[fdbKey]netip.Addr{}
	}
	if there {
		f.dst[fdbKey{o.Dev, o.MAC}] = o.Dst
	} else {
		delete(f.dst, fdbKey{o.Dev, o.MAC})
	}
}

// look brackets a list of all entries: until it ends no event is taken for known.
func (f *fdbs) look() (end func(datapath.State)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looking++
	return func(s datapath.State) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.looking--
		f.dst = map[fdbKey]netip.Addr{}
		for _, o := range s {
			if o, ok := o.(datapath.FDB); ok {
				f.dst[fdbKey{o.Dev, o.MAC}] = o.Dst
			}
		}
	}
}

// knows tells whether an event tells nothing new: the entry leads to dst, or is
// gone if that is invalid.
func (f *fdbs) knows(dev string, mac datapath.MAC, dst netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.looking == 0 && f.dst[fdbKey{dev, mac}] == dst
}
