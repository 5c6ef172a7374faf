package push

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/ipam"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

const (
	maxPools    = 64
	poolSubject = "addresses" // of problems
)

// pools takes in how far the node's prefixes are used. It is stored only of a node
// whose lease may have to be another: else each pod that comes would be a write.
func (s *stream) pools(r *weftv1.PoolReport) {
	o, err := readPools(r)
	var value []byte
	if err == nil && o.Matters() {
		value, err = json.Marshal(o)
	}
	if err == nil {
		s.keep(kind.ObservedPool(s.name), value)
		err = full(o)
	}
	if s.node.note(poolSubject, err, "a further prefix comes within seconds if there is one: look at maxPrefixesPerNode and clusterCIDRs (weft get cc -o yaml), or delete pods of the node") {
		s.hub.observed.node(s.node)
	}
}

// keep has an observation written if it is news. Of a node that came just now a read
// tells whether there is something to take back.
func (s *stream) keep(key string, value []byte) {
	if value == nil && !s.node.keptKnown(key) {
		ctx, cancel := context.WithTimeout(s.ctx, letInWork)
		defer cancel()
		entries, _, err := s.hub.cfg.Store.List(ctx, key)
		if err == nil && !slices.ContainsFunc(entries, func(e store.Entry) bool { return e.Key == key }) {
			s.node.keptNews(key, nil)
			return
		}
	}
	s.hub.observed.keep(s.node, key, value)
}

func readPools(r *weftv1.PoolReport) (kind.PoolsObservation, error) {
	o := kind.PoolsObservation{Epoch: clip(r.GetEpoch(), maxText), Revision: r.GetRevision()}
	if len(r.GetPools()) > maxPools {
		return o, fmt.Errorf("%d prefixes: at most %d", len(r.GetPools()), maxPools)
	}
	for _, u := range r.GetPools() {
		p, err := netip.ParsePrefix(u.GetPrefix())
		if err != nil || p != p.Masked() {
			return o, fmt.Errorf("pools: %.50q is not a prefix", u.GetPrefix())
		}
		if u.GetUsable() < 0 || u.GetUsed() < 0 || u.GetResting() < 0 {
			return o, fmt.Errorf("pools: %v: %d usable, %d used, %d resting", p, u.GetUsable(), u.GetUsed(), u.GetResting())
		}
		o.Pools = append(o.Pools, kind.PoolUse{
			Prefix: p, Usable: u.GetUsable(), Used: u.GetUsed(), Resting: u.GetResting(), Closed: u.GetClosed(),
		})
	}
	return o, nil
}

// full is the problem of a node that can add no pod.
func full(o kind.PoolsObservation) error {
	for _, is4 := range []bool{true, false} {
		if f := o.Family(is4); f.Usable > 0 && f.Used >= f.Usable {
			return fmt.Errorf("all %d %s addresses of the node's prefixes are used: no pod can be added", f.Usable, ipam.Family(is4))
		}
	}
	return nil
}
