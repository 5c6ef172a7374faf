package pod

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/cniwire"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
)

// aside is a file that cannot be read. Nothing in it is believed: what its pod has
// is what the kernel routes to the pod's device. A pod without its device has
// nothing.
type aside struct {
	path    string
	hostDev string
	cause   string
	bytes   []byte

	alive bool         // the device is there
	addrs []netip.Addr // routed to the device; not given again while it is there
}

// lacks tells whether the pod may have an address of a family of which the kernel
// knows none.
func (a aside) lacks(is4 bool) bool {
	return a.alive && !slices.ContainsFunc(a.addrs, func(b netip.Addr) bool { return b.Is4() == is4 })
}

// problem is what an operator of a node whose lease has some families is told.
func (a aside) problem(families []bool) intent.Problem {
	what, do := "its device is gone, so that no pod has its addresses", "delete the pod that had it; if there is none: "
	if a.alive {
		what, do = fmt.Sprintf("its pod keeps %v, which no other is given", a.addrs), "delete the pod that has it; if there is none: ip link delete "+a.hostDev+", "
	}
	if slices.ContainsFunc(families, a.lacks) {
		what = fmt.Sprintf("its pod has %v and perhaps more that the kernel does not tell, so that no pod can be added", a.addrs)
	}
	return intent.Problem{
		Subject: a.path,
		Cause:   fmt.Sprintf("the record of device %s is not understood: %s; %s", a.hostDev, a.cause, what),
		Remedy:  do + "rm -f " + a.path + " and restart weft-agent",
	}
}

// families are those of the node's lease.
func (k *Keeper) families() []bool {
	n, _ := k.Node()
	return intent.Families(n.open())
}

// quarantine keeps a file that cannot be read, with the addresses that its pod
// has.
func (k *Keeper) quarantine(a aside, seen datapath.State) {
	_, a.alive = seen[datapath.Link{Name: a.hostDev}.Key()]
	for _, o := range seen {
		if r, ok := o.(datapath.Route); ok && r.Dev == a.hostDev && r.Dst.IsSingleIP() {
			a.addrs = append(a.addrs, r.Dst.Addr())
		}
	}
	slices.SortFunc(a.addrs, netip.Addr.Compare)
	if !a.alive {
		a = k.letGo(a)
	}
	k.asides[a.hostDev] = a
	p := a.problem(k.families())
	k.Log.Error("record not understood", note.Path, a.path, note.Err, p.Cause, note.Addr, a.addrs, note.Do, p.Remedy)
}

// release lets go of what devices had that are gone. They do not come back: no ADD
// succeeds while the file is there. The caller does not hold mu.
func (k *Keeper) release(links datapath.State) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for dev, a := range k.asides {
		if _, there := links[datapath.Link{Name: dev}.Key()]; a.alive && !there {
			k.asides[dev] = k.letGo(a)
		}
	}
}

// letGo makes the addresses of an aside rest, and those that seem to be in its file.
// The caller holds mu, or is Open.
func (k *Keeper) letGo(a aside) aside {
	k.restsSince(Record{HostDev: a.hostDev, Addrs: slices.Concat(a.addrs, salvage(a.bytes))}, k.Now())
	a.alive, a.addrs = false, nil
	return a
}

// sure refuses to give addresses while a pod may have one that nobody knows. The
// caller holds mu.
func (k *Keeper) sure(families []bool) error {
	for _, dev := range slices.Sorted(maps.Keys(k.asides)) {
		if a := k.asides[dev]; slices.ContainsFunc(families, a.lacks) {
			p := a.problem(families)
			return cniwire.Errorf(cniwire.CodeTryAgain, "pod: no address can be given: %s; %s", p.Cause, p.Remedy)
		}
	}
	return nil
}
