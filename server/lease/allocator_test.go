package lease

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
)

// cluster is a store with a ClusterConfig, and an allocator over it.
type cluster struct {
	t     *testing.T
	store *storetest.Memory
	alloc *Allocator
	now   time.Time
}

func newCluster(t *testing.T, cidrs string, masks ...int) *cluster {
	t.Helper()
	c := &cluster{t: t, store: storetest.New(), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	c.alloc = c.another()
	c.configure(cidrs, masks...)
	return c
}

func (c *cluster) another() *Allocator {
	return New(Config{Store: c.store, Now: func() time.Time { return c.now }})
}

func (c *cluster) configure(cidrs string, masks ...int) {
	c.t.Helper()
	spec := kind.ClusterConfigSpec{ClusterCIDRs: prefixes(cidrs)}
	if len(masks) == 2 {
		spec.NodeCIDRMaskSize4, spec.NodeCIDRMaskSize6 = masks[0], masks[1]
	}
	c.object(kind.ClusterConfig, kind.DefaultName, spec)
}

func (c *cluster) put(key string, value []byte) {
	c.t.Helper()
	if _, err := c.store.Commit(c.t.Context(), store.Txn{Then: []store.Write{{Key: key, Value: value}}}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) object(k, name string, spec any) {
	c.t.Helper()
	b, err := kind.Encode(k, kind.Metadata{Name: name}, spec)
	if err != nil {
		c.t.Fatal(err)
	}
	c.put(kind.Key(k, "", name), b)
}

// acquire is the lease as text, or the error.
func (c *cluster) acquire(node, carried string) string {
	got, err := c.alloc.Acquire(c.t.Context(), node, prefixes(carried))
	if err != nil {
		return err.Error()
	}
	return strings.Trim(fmt.Sprint(got), "[]")
}

func (c *cluster) expect(got, want string) {
	c.t.Helper()
	if got != want && !(strings.Contains(got, " ") && want != "" && strings.Contains(got, want) && strings.Contains(got, "lease:")) {
		c.t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func prefixes(s string) []netip.Prefix {
	var out []netip.Prefix
	for _, f := range strings.Fields(s) {
		p, err := netip.ParsePrefix(f)
		if err != nil {
			panic(err)
		}
		out = append(out, p)
	}
	return out
}

func TestFamilies(t *testing.T) {
	for _, c := range []struct {
		name, cidrs string
		masks       []int
		want        [2]string // of n1 and n2
	}{
		{"dual", "10.42.0.0/16 fd42:42::/48", nil, [2]string{"10.42.0.0/24 fd42:42::/64", "10.42.1.0/24 fd42:42:0:1::/64"}},
		{"IPv6 first", "fd42:42::/48 10.42.0.0/16", nil, [2]string{"fd42:42::/64 10.42.0.0/24", "fd42:42:0:1::/64 10.42.1.0/24"}},
		{"IPv4 only", "10.42.0.0/16", nil, [2]string{"10.42.0.0/24", "10.42.1.0/24"}},
		{"IPv6 only", "fd42:42::/48", nil, [2]string{"fd42:42::/64", "fd42:42:0:1::/64"}},
		{"other masks", "10.42.0.0/16 fd42:42::/56", []int{20, 72}, [2]string{"10.42.0.0/20 fd42:42::/72", "10.42.16.0/20 fd42:42:0:0:100::/72"}},
		{"two of a family", "10.42.0.0/24 10.50.0.0/16", nil, [2]string{"10.42.0.0/24", "10.50.0.0/24"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newCluster(t, c.cidrs, c.masks...)
			for i, want := range c.want {
				node := fmt.Sprintf("n%d", i+1)
				f.expect(f.acquire(node, ""), want)
				f.expect(f.acquire(node, ""), want)
				f.alloc = f.another() // restarted
				f.expect(f.acquire(node, ""), want)
			}
		})
	}
}

func TestCarried(t *testing.T) {
	for _, c := range []struct{ name, carried, want string }{
		{"OK both", "10.42.7.0/24 fd42:42:0:7::/64", "10.42.7.0/24 fd42:42:0:7::/64"},
		{"OK one", "fd42:42:0:7::/64", "10.42.1.0/24 fd42:42:0:7::/64"},
		{"OK first of two", "10.42.7.0/24 10.42.8.0/24", "10.42.7.0/24 fd42:42:0:1::/64"},
		{"bad taken", "10.42.0.0/24", "10.42.1.0/24 fd42:42:0:1::/64"},
		{"bad outside", "10.99.0.0/24", "10.42.1.0/24 fd42:42:0:1::/64"},
		{"bad too large a claim", "10.42.0.0/17", "10.42.1.0/24 fd42:42:0:1::/64"},
		{"bad too small", "10.42.7.0/25", "10.42.1.0/24 fd42:42:0:1::/64"},
		{"bad host bits", "10.42.7.1/24", "10.42.1.0/24 fd42:42:0:1::/64"},
		{"bad the whole range", "10.42.0.0/16 fd42:42::/48", "10.42.1.0/24 fd42:42:0:1::/64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newCluster(t, "10.42.0.0/16 fd42:42::/48")
			f.expect(f.acquire("n0", ""), "10.42.0.0/24 fd42:42::/64")
			f.expect(f.acquire("n7", c.carried), c.want)
		})
	}
}

func TestReservation(t *testing.T) {
	f := newCluster(t, "10.42.0.0/16 fd42:42::/48")
	f.object(kind.Lease, "n7", kind.LeaseSpec{Node: "n7", Prefixes: prefixes("10.42.0.0/23")})
	f.expect(f.acquire("n1", ""), "10.42.2.0/24 fd42:42::/64")
	f.expect(f.acquire("n7", "10.42.9.0/24"), "10.42.0.0/23 fd42:42:0:1::/64") // completed
	f.configure("fd42:42::/48 10.42.0.0/16")
	f.expect(f.acquire("n7", ""), "fd42:42:0:1::/64 10.42.0.0/23")
}

func TestSecondFamilyIsAdded(t *testing.T) {
	f := newCluster(t, "10.42.0.0/16")
	f.expect(f.acquire("n1", ""), "10.42.0.0/24")
	f.configure("10.42.0.0/16 fd42:42::/48")
	f.expect(f.acquire("n1", ""), "10.42.0.0/24 fd42:42::/64")
}

func TestRest(t *testing.T) {
	f := newCluster(t, "10.42.0.0/22")
	release := func(node string) {
		t.Helper()
		if err := f.alloc.Release(t.Context(), node); err != nil {
			t.Fatal(err)
		}
	}
	f.expect(f.acquire("a", ""), "10.42.0.0/24")
	f.expect(f.acquire("b", ""), "10.42.1.0/24")
	release("b")
	release("b") // again is no error
	f.now = f.now.Add(time.Minute)
	release("a")
	f.alloc = f.another() // the record is in the store
	f.now = f.now.Add(9*time.Minute - time.Second)
	f.expect(f.acquire("c", ""), "10.42.2.0/24")
	f.now = f.now.Add(time.Second)
	f.expect(f.acquire("d", ""), "10.42.1.0/24")
	f.expect(f.acquire("e", ""), "10.42.3.0/24")
	f.expect(f.acquire("f", ""), "10.42.0.0/24") // nothing else is left
	f.expect(f.acquire("g", ""), "lease: node g: ipam: no /24 in 10.42.0.0/22: 4 prefixes are taken, 0 of them resting; no prefix is free; add a range")
	rests, _, err := f.store.List(t.Context(), restRoot)
	if err != nil || len(rests) > 0 {
		t.Errorf("records of rests stay: %v %v", rests, err)
	}
}

func TestReturnsFromRestToItsOwn(t *testing.T) {
	f := newCluster(t, "10.42.0.0/16")
	f.expect(f.acquire("a", ""), "10.42.0.0/24")
	if err := f.alloc.Release(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	f.expect(f.acquire("b", "10.42.0.0/24"), "10.42.1.0/24") // it rests, and was never b's
	f.expect(f.acquire("a", "10.42.0.0/24"), "10.42.0.0/24")
}

func TestClockThatJumpedBack(t *testing.T) {
	f := newCluster(t, "10.42.0.0/16")
	f.now = f.now.Add(1000 * time.Hour)
	f.expect(f.acquire("a", ""), "10.42.0.0/24")
	if err := f.alloc.Release(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	f.now = f.now.Add(-1000 * time.Hour)
	f.alloc = f.another()
	f.expect(f.acquire("b", ""), "10.42.1.0/24")
	f.now = f.now.Add(11 * time.Minute) // and it does not rest for 1000 hours
	f.expect(f.acquire("c", ""), "10.42.0.0/24")
}

func TestRefusals(t *testing.T) {
	f := newCluster(t, "10.42.0.0/16 fd42:42::/48")
	report := func(node, addr string) {
		f.object(kind.Report, node, kind.ReportSpec{Addresses: []kind.ReportAddress{{Address: netip.MustParsePrefix(addr), Device: "eth0", MTU: 1500}}})
	}
	report("in", "10.42.3.4/16")
	report("beside", "10.0.0.4/8") // its link holds the range; its address does not lie there
	f.expect(f.acquire("in", ""), "lease: node in: its address 10.42.3.4 lies in 10.42.0.0/16")
	f.expect(f.acquire("beside", ""), "10.42.0.0/24 fd42:42::/64")
	f.expect(f.acquire("N1", ""), `lease: node name "N1" has capitals`)
	f.expect(f.acquire("../x", ""), "lease: node name")
	empty := &cluster{t: t, store: storetest.New()}
	empty.alloc = empty.another()
	empty.expect(empty.acquire("n1", ""), "lease: node n1: there is no ClusterConfig yet")
	f.store.Down()
	f.expect(f.acquire("n2", ""), "lease: report of node n2: storetest: the store is down")
	f.store.Inject(storetest.Fault{})
	f.expect(f.acquire("n2", ""), "10.42.1.0/24 fd42:42:0:1::/64")
}

// TestHalfFailure: a node that gets no IPv6 leaves no IPv4 behind.
func TestHalfFailure(t *testing.T) {
	f := newCluster(t, "10.42.0.0/16 fd42:42::/64")
	f.expect(f.acquire("a", ""), "10.42.0.0/24 fd42:42::/64")
	for range 3 {
		f.expect(f.acquire("b", ""), "lease: node b: ipam: no /64 in fd42:42::/64")
	}
	f.configure("10.42.0.0/16 fd42:42::/64 fd43::/48")
	f.expect(f.acquire("b", ""), "10.42.1.0/24 fd43::/64")
}

func TestLostAnswer(t *testing.T) {
	f := newCluster(t, "10.42.0.0/16")
	lost := errors.New("connection reset")
	f.store.Inject(storetest.Fault{After: func(store.Txn) error { return lost }})
	if _, err := f.alloc.Acquire(t.Context(), "a", nil); !errors.Is(err, lost) {
		t.Fatal(err)
	}
	f.store.Inject(storetest.Fault{})
	f.expect(f.acquire("b", ""), "10.42.1.0/24")
	f.expect(f.acquire("a", ""), "10.42.0.0/24")
}

func TestLostRaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newCluster(t, "10.42.0.0/16")
		f.store.Conflict(maxTries - 1)
		f.expect(f.acquire("a", ""), "10.42.0.0/24")
		f.store.Conflict(maxTries)
		if _, err := f.alloc.Acquire(t.Context(), "b", nil); !errors.Is(err, store.ErrConflict) {
			t.Fatal(err)
		}
	})
}

func TestLeaveWhileWaiting(t *testing.T) {
	f := newCluster(t, "10.42.0.0/16")
	b := <-f.alloc.turn // somebody is at it
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 3 * maxBatch { // more than wait at once
		if _, err := f.alloc.Acquire(ctx, fmt.Sprintf("n%d", i), nil); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	f.alloc.turn <- b
	if got := f.acquire("a", ""); !strings.HasPrefix(got, "10.42.") {
		t.Fatal(got)
	}
}

// TestFiftyAtOnce: a cold start of a cluster shares transactions.
func TestFiftyAtOnce(t *testing.T) {
	f := newCluster(t, "10.42.0.0/16 fd42:42::/48")
	before := f.store.Revision()
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[netip.Prefix]string{}
	for i := range 50 {
		wg.Go(func() {
			node := fmt.Sprintf("n%d", i)
			got, err := f.alloc.Acquire(t.Context(), node, nil)
			if err != nil || len(got) != 2 {
				t.Error(got, err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, p := range got {
				if seen[p] != "" {
					t.Errorf("%v has %s and %s", p, seen[p], node)
				}
				seen[p] = node
			}
		})
	}
	wg.Wait()
	if n := f.store.Revision() - before; n > 50 {
		t.Errorf("%d transactions for 50 nodes", n)
	}
}

func TestFullErrorIsKnown(t *testing.T) {
	f := newCluster(t, "10.42.0.0/24")
	f.acquire("a", "")
	if _, err := f.alloc.Acquire(t.Context(), "b", nil); !errors.Is(err, ipam.ErrFull) {
		t.Error(err)
	}
}

func BenchmarkAcquire(b *testing.B) {
	s := storetest.New()
	a := New(Config{Store: s})
	config, err := kind.Encode(kind.ClusterConfig, kind.Metadata{Name: kind.DefaultName}, kind.ClusterConfigSpec{ClusterCIDRs: prefixes("10.0.0.0/8 fd42:42::/40")})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.Commit(b.Context(), store.Txn{Then: []store.Write{{Key: configKey, Value: config}}}); err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		if _, err := a.Acquire(b.Context(), fmt.Sprintf("n%d", i%10000), nil); err != nil {
			b.Fatal(err)
		}
	}
}

// TestUnreadableLease: who has a lease keeps it, nothing new is given, and the
// broken one can be mended.
func TestUnreadableLease(t *testing.T) {
	f := newCluster(t, "10.42.0.0/16")
	f.expect(f.acquire("a", ""), "10.42.0.0/24")
	f.put(kind.Key(kind.Lease, "", "b"), []byte(`{"schema": 99}`))
	f.alloc = f.another()
	f.expect(f.acquire("a", ""), "10.42.0.0/24")
	f.expect(f.acquire("c", ""), "lease: node c: Lease/b: the stored lease cannot be read (kind: / has schema 99")
	if _, err := f.alloc.Guard(t.Context(), []kind.Object{object(t, "{kind: Lease, metadata: {name: d}, spec: {prefixes: [10.42.7.0/24]}}")}, nil); err == nil {
		t.Error("a reservation is accepted blindly")
	}
	if _, err := f.alloc.Guard(t.Context(), nil, []string{"b"}); err != nil {
		t.Error(err)
	}
	if err := f.alloc.Release(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	f.alloc = f.another()
	f.expect(f.acquire("c", ""), "10.42.1.0/24")
}

// TestHalfFailureEndsNoRest: what was squeezed out for a node that then gets no
// IPv6 rests on.
func TestHalfFailureEndsNoRest(t *testing.T) {
	f := newCluster(t, "10.42.0.0/23 fd42:42::/64")
	f.expect(f.acquire("a", ""), "10.42.0.0/24 fd42:42::/64")
	f.object(kind.Lease, "b", kind.LeaseSpec{Node: "b", Prefixes: prefixes("10.42.1.0/24")})
	f.alloc = f.another()
	if err := f.alloc.Release(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	f.expect(f.acquire("c", ""), "lease: node c: ipam: no /64 in fd42:42::/64")
	b := <-f.alloc.turn
	defer func() { f.alloc.turn <- b }()
	if p := prefixes("10.42.1.0/24")[0]; b.rests[p].Node != "b" || !b.spaces[0].Overlaps(p) || len(b.garbage) > 0 {
		t.Errorf("rests %v, garbage %v", b.rests, b.garbage)
	}
}
