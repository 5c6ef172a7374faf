package uplink

import (
	"net/netip"
	"testing"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// TestNothingIsClosedBeforeTheDiskKnows: an agent that is killed goes on from its
// disk, where the prefix may still be open.
func TestNothingIsClosedBeforeTheDiskKnows(t *testing.T) {
	b, s := newOutbox("n1"), &sent{}
	b.epoch = "e"
	pools := func(revision int64, closed bool, used int64) Pools {
		return Pools{Epoch: "e", Revision: revision, Of: []PoolUse{{Prefix: netip.MustParsePrefix("10.42.1.0/24"), Usable: 254, Used: used, Closed: closed}}}
	}
	next := func() *weftv1.PoolReport {
		for _, m := range b.nextPools(s) {
			return m.GetPools()
		}
		return nil
	}
	b.setPools(pools(5, false, 1))
	if m := next(); m.GetRevision() != 5 || m.GetPools()[0].GetUsed() != 1 {
		t.Errorf("first %v", m)
	}
	b.setPools(pools(6, false, 1))
	if m := next(); m != nil {
		t.Errorf("a revision alone is no news: %v", m)
	}
	b.setUnfiled(7)
	b.setPools(pools(7, true, 0))
	if m := next(); m == nil || m.GetPools()[0].GetClosed() {
		t.Errorf("not on disk yet: %v", m)
	}
	b.setFiled("e", 6)
	if m := next(); m != nil {
		t.Errorf("an older file: %v", m)
	}
	b.setFiled("e", 7)
	if m := next(); m == nil || !m.GetPools()[0].GetClosed() || m.GetRevision() != 7 {
		t.Errorf("on disk: %v", m)
	}
	b.setPools(pools(8, true, 0))
	if m := next(); m.GetRevision() != 8 {
		t.Errorf("what is closed is said as of each revision: %v", m)
	}
}
