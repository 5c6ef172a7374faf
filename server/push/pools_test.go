package push

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// pooled is what is stored of a node's prefixes.
func (f *fabric) pooled(node string) string {
	f.t.Helper()
	entries, _, err := f.store.List(f.t.Context(), kind.ObservedPool(node))
	if err != nil {
		f.t.Fatal(err)
	}
	if len(entries) == 0 {
		return ""
	}
	o, err := kind.DecodeObservation[kind.PoolsObservation](entries[0])
	if err != nil {
		f.t.Fatal(err)
	}
	return fmt.Sprint(o.Revision, " ", o.Pools)
}

func TestPoolsAreStoredWhenTheyMatter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		a := f.join(hello("n1", 1))
		say := func(used int64, more ...*weftv1.PoolUse) {
			pools := append([]*weftv1.PoolUse{{Prefix: "10.42.1.0/24", Usable: 254, Used: used}}, more...)
			a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Pools{Pools: &weftv1.PoolReport{Epoch: "e1", Revision: 9, Pools: pools}}})
			time.Sleep(1500 * time.Millisecond)
			a.hear()
		}
		before := f.store.Revision()
		for used := range int64(40) {
			say(used)
		}
		expect(t, "room", f.pooled("n1"), "")
		entries, _, err := f.store.List(t.Context(), kind.ObservedPools)
		if err != nil || len(entries) > 0 {
			t.Errorf("%v after %d writes", entries, f.store.Revision()-before)
		}
		say(250)
		expect(t, "nearly full", f.pooled("n1"), "9 [{10.42.1.0/24 254 250 0 false}]")
		say(254)
		if p := problems(statusOf(f, "n1")); len(p) != 1 || p[0] != "addresses: all 254 IPv4 addresses of the node's prefixes are used: no pod can be added" {
			t.Errorf("%q", p)
		}
		say(3, &weftv1.PoolUse{Prefix: "10.42.9.0/24", Usable: 254, Closed: true})
		expect(t, "two", f.pooled("n1"), "9 [{10.42.1.0/24 254 3 0 false} {10.42.9.0/24 254 0 0 true}]")
		say(3)
		expect(t, "room again", f.pooled("n1"), "")
		say(1, &weftv1.PoolUse{Prefix: "nonsense"})
		if p := problems(statusOf(f, "n1")); len(p) != 1 {
			t.Errorf("%q", p)
		}
	})
}

// A server that a node comes to takes back what another server stored of it.
func TestPoolsOfAnotherServerAreTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		if _, err := f.store.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: kind.ObservedPool("n1"), Value: []byte(`{}`)}}}); err != nil {
			t.Fatal(err)
		}
		a := f.join(hello("n1", 1))
		a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Pools{Pools: &weftv1.PoolReport{Epoch: "e1", Pools: []*weftv1.PoolUse{{Prefix: "10.42.1.0/24", Usable: 254}}}}})
		time.Sleep(1500 * time.Millisecond)
		expect(t, "taken back", f.pooled("n1"), "")
	})
}

func statusOf(f *fabric, node string) Status {
	s, _ := f.hub.Status(node)
	return s
}
