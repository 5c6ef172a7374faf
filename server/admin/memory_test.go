package admin

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/push"
	"github.com/weft-net/weft/server/store"
)

// mute is a store that answers nobody once it was told so.
type mute struct {
	store.Store
	hush
}

func (m *mute) List(ctx context.Context, prefix string) ([]store.Entry, int64, error) {
	if since, _ := m.now(); !since.IsZero() || m.early {
		m.asked()
		<-ctx.Done()
		return nil, 0, errors.New("etcd: list: it does not answer")
	}
	return m.Store.List(ctx, prefix)
}

// hush is what the servers' room knows of a store.
type hush struct {
	mu      sync.Mutex
	since   time.Time
	changed chan struct{}
	early   bool   // the store is silent, and nobody knows yet
	asked   func() // somebody waits for it
}

func (s *hush) now() (time.Time, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since, s.changed
}

func (s *hush) begin(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = at
	close(s.changed)
	s.changed = make(chan struct{})
}

// TestToldFromMemory: while the store answers nobody status is told from memory, at
// once and also to who was waiting when it fell silent; a node without a stream here
// is unknown, not away.
func TestToldFromMemory(t *testing.T) {
	for _, late := range []bool{false, true} {
		f := newFabric(t)
		f.join("n1", "n2", "n3")
		entries, _, err := f.store.List(t.Context(), store.Root)
		if err != nil {
			t.Fatal(err)
		}
		f.hub.live["n2"] = push.Status{Node: "n2", Connected: true, Applied: 100}
		m := &mute{Store: f.store, hush: hush{changed: make(chan struct{}), early: late, asked: func() {}}}
		if late {
			m.asked = sync.OnceFunc(func() { m.begin(now) })
		} else {
			m.begin(now)
		}
		s := New(Config{
			Store: m, Hub: f.hub, Name: "s2", Now: func() time.Time { return now }, CAEnds: func() time.Time { return now },
			Servers: func(context.Context) ([]*weftv1.ServerStatus, error) { return nil, nil },
			Silence: m.now, Remembered: func() []store.Entry { return entries },
		})
		got, err := (&fabric{Server: s}).Get(t.Context(), &weftv1.StatusGetRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if got.GetSilentSinceUnix() != now.Unix() || got.GetServer() != "s2" || got.GetNodes() != 3 || got.GetNodesInStep() != 1 || len(got.GetProblems()) != 0 || got.GetEtcd() != nil {
			t.Errorf("late %v: %v", late, got)
		}
		list, err := (&nodes{Server: s}).List(t.Context(), &weftv1.NodesListRequest{})
		if err != nil {
			t.Fatal(err)
		}
		var states []string
		for _, n := range list.GetNodes() {
			states = append(states, n.GetState())
		}
		if len(states) != 3 || states[0] != unknown || states[1] != ready || states[2] != unknown {
			t.Errorf("late %v: %v", late, states)
		}
	}
}

// TestMeshWithoutAStore: while the store answers nobody, of pairs that choose their way
// nothing is told that was not said, and at once who is to be asked.
func TestMeshWithoutAStore(t *testing.T) {
	f, _ := meshFabric(t, "auto")
	m := &mute{Store: f.store, hush: hush{changed: make(chan struct{}), asked: func() {}}}
	m.begin(now)
	s := &mesh{Server: New(Config{Store: m, Hub: f.hub, Name: "s2", Now: func() time.Time { return now }, Silence: m.now})}
	const where = "server s2 has no stream of node n1, and the store, which knows who has, answers nobody; ask on the node, with --local"
	r, err := s.ExplainPath(t.Context(), &weftv1.ExplainPathRequest{From: "n1", To: "n2"})
	if err != nil || r.GetEnds()[0].GetError() != where || r.GetPath().GetTransport() != notTold {
		t.Error(r, err)
	}
	all, err := s.Matrix(t.Context(), &weftv1.MatrixRequest{})
	if err != nil || len(all.GetPairs()) != 3 {
		t.Error(all, err)
	}
	for _, p := range all.GetPairs() {
		if p.GetTransport() != notTold || p.GetBack().GetTransport() != notTold || p.GetMtu() != 0 || !p.GetUnasked() {
			t.Error(p)
		}
	}
	_, err = s.RotateKeys(t.Context(), &weftv1.MeshRotateKeysRequest{})
	if want := "Unavailable | the store answers nobody: no peer would hear of a new key"; said(err) != want {
		t.Errorf("%s, want %s", said(err), want)
	}
}
