package steward

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/kind"
)

// Verb is what a step does.
type Verb string

// The steps of a Plan.
const (
	Grow  Verb = "grow"  // give a further prefix of a family
	Drain Verb = "drain" // close a prefix
	Yield Verb = "yield" // take a closed one back
)

// Step is one thing to do to one lease.
type Step struct {
	Verb   Verb
	Is4    bool         // of Grow
	Prefix netip.Prefix // of Drain and Yield
	Why    string
}

// Lease is one node's lease, and what its node last said of it.
type Lease struct {
	Spec     kind.LeaseSpec
	Revision int64 // of the last write of it, or of the ClusterConfig
	Use      kind.PoolsObservation
	Known    bool // Use is of this epoch
	// Empty is since when a prefix has been without a pod; absent if it is not.
	Empty map[netip.Prefix]time.Time
}

// Plan says what to do to a lease now. rest is how long a further prefix must have
// been empty before it is closed.
func Plan(spec kind.ClusterConfigSpec, l Lease, now time.Time, rest time.Duration) []Step {
	var out []Step
	families := intent.Families(spec.ClusterCIDRs)
	for _, is4 := range []bool{true, false} {
		if !slices.Contains(families, is4) {
			for _, p := range l.open(is4) {
				out = append(out, Step{Verb: Drain, Prefix: p, Why: "the cluster has no " + ipam.Family(is4) + " range any more"})
			}
			continue
		}
		out = append(out, l.size(is4, now, rest)...)
	}
	for _, u := range l.use() {
		if u.Closed && u.Used == 0 && slices.Contains(l.Spec.Draining, u.Prefix) && l.Use.Revision >= l.Revision {
			out = append(out, Step{Verb: Yield, Prefix: u.Prefix, Why: "no pod uses it"})
		}
	}
	return out
}

// size makes a family larger or smaller, or leaves it.
func (l Lease) size(is4 bool, now time.Time, rest time.Duration) []Step {
	open := l.open(is4)
	if len(open) == 0 {
		if l.has(is4) {
			return []Step{{Verb: Grow, Is4: is4, Why: "what it has is wanted back"}}
		}
		return nil // nothing at all: lease.Complete
	}
	if !l.current(is4) {
		return nil
	}
	sum := l.Use.Family(is4)
	if sum.NearlyFull() {
		return []Step{{Verb: Grow, Is4: is4, Why: "its pods use nearly all it has"}}
	}
	last := open[len(open)-1]
	since, empty := l.Empty[last]
	if len(open) == 1 || !empty || now.Sub(since) < rest {
		return nil
	}
	without := l.Use
	without.Pools = slices.DeleteFunc(slices.Clone(l.Use.Pools), func(u kind.PoolUse) bool { return u.Prefix == last })
	if !without.Family(is4).Roomy() {
		return nil
	}
	return []Step{{Verb: Drain, Prefix: last, Why: "its pods need less"}}
}

// open are the prefixes of a family that do not drain.
func (l Lease) open(is4 bool) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(l.Spec.Prefixes), func(p netip.Prefix) bool {
		return p.Addr().Is4() != is4 || slices.Contains(l.Spec.Draining, p)
	})
}

func (l Lease) has(is4 bool) bool {
	return slices.ContainsFunc(l.Spec.Prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() == is4 })
}

// use is what the node said, if it counts.
func (l Lease) use() []kind.PoolUse {
	if !l.Known {
		return nil
	}
	return l.Use.Pools
}

// current tells whether the node speaks of the prefixes that it has now.
func (l Lease) current(is4 bool) bool {
	var said []netip.Prefix
	for _, u := range l.use() {
		if u.Prefix.Addr().Is4() == is4 && !u.Closed {
			said = append(said, u.Prefix)
		}
	}
	now := l.open(is4)
	return len(said) == len(now) && !slices.ContainsFunc(now, func(p netip.Prefix) bool { return !slices.Contains(said, p) })
}
