package pod

import (
	"net/netip"
	"slices"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/proto/intent"
)

// Pools is how far the prefixes of the node's lease are used, as of an intent.
type Pools struct {
	Epoch    string
	Revision int64
	Of       []PoolUse // in the order of the lease
}

// PoolUse is how far one prefix is used.
type PoolUse struct {
	Prefix  netip.Prefix
	Usable  int64 // addresses for pods
	Used    int64 // held by pods, or may be
	Resting int64
	Closed  bool // no pod gets an address of it any more
}

// Pools counts. What it calls closed stays so for as long as the intent says so: an
// ADD that has begun takes its addresses under the same lock, by the intent of that
// moment.
func (k *Keeper) Pools() Pools {
	k.mu.Lock()
	defer k.mu.Unlock()
	n, ok := k.Node()
	if !ok {
		return Pools{}
	}
	out := Pools{Epoch: n.Epoch, Revision: n.Revision}
	for _, p := range n.Lease {
		is4 := p.Addr().Is4()
		use := PoolUse{Prefix: p, Usable: ipam.Pool{Prefixes: []netip.Prefix{p}}.Usable(is4), Closed: slices.Contains(n.Shut, p)}
		for a := range k.used {
			use.Used += count(p.Contains(a))
		}
		for _, aside := range k.asides {
			use.Used += count(aside.lacks(is4) || slices.ContainsFunc(aside.addrs, p.Contains))
		}
		for a := range k.freed {
			use.Resting += count(p.Contains(a))
		}
		out.Of = append(out.Of, use)
	}
	return out
}

func count(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

// fits tells whether a node's lease holds an address.
func (n Node) fits(a netip.Addr) bool {
	return slices.ContainsFunc(n.Lease, func(p netip.Prefix) bool { return p.Contains(a) })
}

// strays are the problem of pods whose addresses are of no prefix of the node any
// more: nobody routes to them.
func (k *Keeper) strays() []intent.Problem {
	n, ok := k.Node()
	if !ok || len(n.Lease) == 0 {
		return nil
	}
	var out []intent.Problem
	for _, e := range k.all() {
		if i := slices.IndexFunc(e.Addrs, func(a netip.Addr) bool { return !n.fits(a) }); i >= 0 && e.phase == ready {
			out = append(out, intent.Problem{
				Subject: e.HostDev, Cause: "pod " + e.Who() + " has " + e.Addrs[i].String() + ", which is of none of the node's prefixes: no other node routes to it",
				Remedy: "delete the pod, so that it starts with an address of now",
			})
		}
	}
	return out
}
