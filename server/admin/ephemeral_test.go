package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/lease"
	"github.com/weft-net/weft/server/push"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
)

// TestEphemeralNodesExpire: an ephemeral node is deleted, and its lease given back, an
// hour after it was last heard, no sooner; no other node ever is. A server that takes
// the lead gives it a whole hour of its own.
func TestEphemeralNodesExpire(t *testing.T) {
	for _, c := range []struct {
		name      string
		led       time.Duration // since when this server leads, after the node was last heard
		comesBack time.Duration // 0: never
		gone      time.Duration // 0: never
	}{
		{"it went", 0, 0, time.Hour},
		{"another server leads meanwhile", 40 * time.Minute, 0, 100 * time.Minute},
		{"it comes back", 0, 59 * time.Minute, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				f := ephemerals(t, "e1", "n1")
				time.Sleep(c.led)
				go func() { _ = f.server.ExpireEphemeral(ctx) }()
				left := func() bool { synctest.Wait(); return !f.leased("e1") }
				switch {
				case c.gone != 0:
					time.Sleep(c.gone - c.led - ephemeralCheck)
					if left() {
						t.Errorf("it is deleted %v too early", ephemeralCheck)
					}
					time.Sleep(2 * ephemeralCheck)
					if !left() || f.hub.notes() != "expire e1, cut e1" {
						t.Errorf("it is there after %v: %s", c.gone+ephemeralCheck, f.hub.notes())
					}
				default:
					time.Sleep(c.comesBack)
					f.hub.mu.Lock()
					f.hub.live["e1"] = push.Status{Node: "e1", Connected: true, Heard: time.Now()}
					f.hub.mu.Unlock()
					time.Sleep(24 * time.Hour)
					if left() {
						t.Error("it is deleted, and was heard")
					}
				}
				if !f.leased("n1") {
					t.Error("n1 is gone, and is not ephemeral")
				}
			})
		})
	}
}

// waning is a fabric of nodes that were heard a moment ago, and are not there.
type waning struct {
	t      *testing.T
	store  *storetest.Memory
	leases *lease.Allocator
	hub    *hub
	server *Server
}

// ephemerals are nodes of which the first is ephemeral, in the clock of the bubble.
func ephemerals(t *testing.T, names ...string) *waning {
	m := storetest.New()
	w := &waning{t: t, store: m, leases: lease.New(lease.Config{Store: m}), hub: &hub{store: m, live: map[string]push.Status{}}}
	w.server = New(Config{
		Store: m, Hub: w.hub, Leases: w.leases,
		Ephemeral: func() []string { return names[:1] },
		Expiry: func(_ context.Context, node string) (store.Txn, error) {
			w.hub.note("expire " + node)
			return store.Txn{}, nil
		},
	})
	w.object(kind.ClusterConfig, kind.DefaultName, kind.ClusterConfigSpec{ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}}.WithDefaults())
	for _, name := range names {
		w.object(kind.Node, name, kind.NodeSpec{})
		seen, err := json.Marshal(kind.NodeObservation{Epoch: "e1", HeardUnix: time.Now().Unix()})
		if err != nil {
			t.Fatal(err)
		}
		w.put(kind.ObservedNode(name), seen)
		if _, err := w.leases.Acquire(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *waning) object(k, name string, spec any) {
	w.t.Helper()
	b, err := kind.Encode(k, kind.Metadata{Name: name, CreatedUnix: time.Now().Unix()}, spec)
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(kind.Key(k, "", name), b)
}

func (w *waning) put(key string, value []byte) {
	w.t.Helper()
	if _, err := w.store.Commit(w.t.Context(), store.Txn{Then: []store.Write{{Key: key, Value: value}}}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *waning) leased(node string) bool {
	w.t.Helper()
	_, err := w.store.Get(w.t.Context(), kind.Key(kind.Lease, "", node))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		w.t.Fatal(err)
	}
	return err == nil
}
