package lease_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/lease"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/etcd"
)

// TestStormOverEtcd: a cold start of 500 nodes over the real store, first with one
// server, then with two that race.
func TestStormOverEtcd(t *testing.T) {
	for _, servers := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d servers", servers), func(t *testing.T) {
			s, err := etcd.Embed(t.Context(), etcd.Config{DataDir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}()
			config, err := kind.Encode(kind.ClusterConfig, kind.Metadata{Name: kind.DefaultName}, kind.ClusterConfigSpec{ClusterCIDRs: []netip.Prefix{
				netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd42:42::/40"),
			}})
			if err != nil {
				t.Fatal(err)
			}
			key := kind.Key(kind.ClusterConfig, "", kind.DefaultName)
			rev, err := s.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: key, Value: config}}})
			if err != nil {
				t.Fatal(err)
			}
			var allocs []*lease.Allocator
			for range servers {
				allocs = append(allocs, lease.New(lease.Config{Store: s}))
			}
			for _, n := range []int{50, 500} {
				start := time.Now()
				storm(t, allocs, n)
				t.Logf("%d nodes at once: %v", n, time.Since(start))
			}
			_, now, err := s.List(t.Context(), store.Fabric)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d transactions for 550 nodes", now-rev)
			if now-rev > 550 {
				t.Error("more than one transaction a node")
			}
		})
	}
}

func storm(t *testing.T, allocs []*lease.Allocator, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[netip.Prefix]string{}
	for i := range n {
		wg.Go(func() {
			node := fmt.Sprintf("n%d-%d", n, i)
			got, err := allocs[i%len(allocs)].Acquire(ctx, node, nil)
			if err != nil || len(got) != 2 {
				t.Errorf("%s: %v %v", node, got, err)
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
}
