package kind

import (
	"math"
	"net/netip"
)

// PoolsObservation is how far the prefixes of one node are used, JSON at
// ObservedPool. It is there only of a node for which it Matters.
type PoolsObservation struct {
	Epoch    string    `json:"epoch"`
	Revision int64     `json:"revision"` // of the intent that the node went by
	Pools    []PoolUse `json:"pools"`
}

// PoolUse is how far one prefix is used.
type PoolUse struct {
	Prefix  netip.Prefix `json:"prefix"`
	Usable  int64        `json:"usable"` // addresses for pods
	Used    int64        `json:"used"`
	Resting int64        `json:"resting,omitempty"`
	Closed  bool         `json:"closed,omitempty"` // pods get no address of it any more
}

// Matters tells whether the node's lease may have to be another: it is nearly
// full, or has more than one prefix of a family, or one that is closed.
func (o PoolsObservation) Matters() bool {
	for _, is4 := range []bool{true, false} {
		n := 0
		for _, u := range o.Pools {
			if u.Closed {
				return true
			}
			if u.Prefix.Addr().Is4() == is4 {
				n++
			}
		}
		if n > 1 || n > 0 && o.Family(is4).NearlyFull() {
			return true
		}
	}
	return false
}

// Family adds the open prefixes of a family up. Usable is at most math.MaxInt64.
func (o PoolsObservation) Family(is4 bool) PoolUse {
	var sum PoolUse
	for _, u := range o.Pools {
		if u.Prefix.Addr().Is4() != is4 || u.Closed {
			continue
		}
		sum.Used, sum.Resting = sum.Used+u.Used, sum.Resting+u.Resting
		if sum.Usable += u.Usable; sum.Usable < 0 {
			sum.Usable = math.MaxInt64
		}
	}
	return sum
}

// NearlyFull tells whether a pool has less than a tenth of its addresses free, or
// less than two. One that rests is free: it is given when there is no other.
func (u PoolUse) NearlyFull() bool { return u.Usable-u.Used < max(2, (u.Usable+9)/10) }

// Roomy tells whether a quarter of a pool is free, and more than two addresses.
func (u PoolUse) Roomy() bool { return u.Usable-u.Used > max(2, u.Usable/4) }
