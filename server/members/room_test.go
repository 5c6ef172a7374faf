package members

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/lease"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
)

// running is a room that runs.
type running struct {
	*Room
	stop func() error // in good order
	work chan string  // what the leader's work did

	mu    sync.Mutex
	noted []string // reasons of its events
}

// events are the reasons of those that the room noted so far.
func (r *running) events() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.noted, " ")
}

func start(t *testing.T, m *storetest.Memory, name string) *running {
	t.Helper()
	r := &running{work: make(chan string, 16), Room: New(Config{
		Server: Server{Name: name, Address: "127.0.0.1:1", Version: "test"}, Store: m, DialTLS: &tls.Config{MinVersion: tls.VersionTLS13},
	})}
	r.cfg.Server.Address = name + ".invalid:7443"
	r.cfg.Note = func(e Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.noted = append(r.noted, e.Reason+" "+e.Server)
	}
	r.Lead("count", func(ctx context.Context) error {
		r.work <- "began"
		<-ctx.Done()
		r.work <- "ended"
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stopped := false
	r.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() { _ = r.stop() })
	return r
}

// settle lets everything that can happen without time passing happen, and a
// little time.
func settle() {
	time.Sleep(300 * time.Millisecond)
	synctest.Wait()
}

func TestOneLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.New()
		a := start(t, m, "a")
		settle()
		b := start(t, m, "b")
		settle()
		if s, self := a.Leader(); !self || s.Name != "a" {
			t.Error("a does not lead", s, self)
		}
		if s, self := b.Leader(); self || s.Name != "a" {
			t.Error("b knows of no leader", s, self)
		}
		if _, leads := b.Fence(); leads {
			t.Error("b has a fence")
		}
		fence, _ := a.Fence()
		if got := text(b.Servers()); !strings.Contains(got, "a Ready leader") || !strings.Contains(got, "b Ready ") {
			t.Error(got)
		}
		if err := a.stop(); err != nil {
			t.Error(err)
		}
		settle()
		if _, self := b.Leader(); !self {
			t.Error("a resigned, and b does not lead")
		}
		if got := text(b.Servers()); !strings.Contains(got, "a Stopped") {
			t.Error(got)
		}
		if ps := b.Problems(); len(ps) != 1 || !strings.Contains(ps[0].Remedy, "weft server remove a") {
			t.Error(ps)
		}
		if _, err := m.Commit(t.Context(), store.Txn{If: []store.Cond{fence}, Then: []store.Write{{Key: "k", Value: []byte("v")}}}); !errors.Is(err, store.ErrConflict) {
			t.Error("what a leader of the past writes is taken:", err)
		}
		if got := []string{<-a.work, <-a.work, <-b.work}; strings.Join(got, " ") != "began ended began" {
			t.Error(got)
		}
		_ = b.stop()
	})
}

func TestDeposed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.New()
		a := start(t, m, "a")
		settle()
		before, _ := a.Fence()
		if err := m.Depose(t.Context(), election); err != nil {
			t.Fatal(err)
		}
		settle()
		after, leads := a.Fence()
		if !leads || after == before {
			t.Errorf("the only server stands again: %v, %v, %v", before, after, leads)
		}
		_ = a.stop()
	})
}

// TestAsk: what is asked of the leader is done here by the one that leads, again
// when it was deposed meanwhile, and refused in time when nobody leads.
func TestAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.New()
		a := start(t, m, "a")
		there := func(context.Context, weftv1.MembersClient) error { t.Error("asked over there"); return nil }
		tries := 0
		err := a.ask(t.Context(), "lease of node n1", func(context.Context) error {
			if tries++; tries < 3 {
				return lease.ErrDeposed
			}
			return nil
		}, there)
		if err != nil || tries != 3 {
			t.Error(err, tries)
		}
		_ = a.stop()

		idle := New(Config{Server: Server{Name: "z", Address: "z.invalid:7443"}, Store: m, DialTLS: &tls.Config{MinVersion: tls.VersionTLS13}})
		began := time.Now()
		err = idle.ask(t.Context(), "lease of node n1", func(context.Context) error { return nil }, there)
		if !errors.Is(err, ErrNoLeader) || !strings.Contains(err.Error(), "lease of node n1: no server leads") {
			t.Error(err)
		}
		if took := time.Since(began); took != forwardWithin {
			t.Error("it took", took)
		}
	})
}

// TestTwin: two servers of one name, at two addresses: the second gives up and says
// what to do.
func TestTwin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.New()
		a := start(t, m, "a")
		settle()
		twin := New(Config{Server: Server{Name: "a", Address: "other.invalid:7443"}, Store: m, DialTLS: &tls.Config{MinVersion: tls.VersionTLS13}})
		err := twin.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "another server runs as a, at a.invalid:7443: give one of them another --name") {
			t.Error(err)
		}
		if got := text(a.Servers()); !strings.HasPrefix(got, "a Ready") {
			t.Error("the first suffers:", got)
		}
		_ = a.stop()
	})
}

// TestNoNewsOfOne: of a fabric with one server it is no news that this one leads.
func TestNoNewsOfOne(t *testing.T) {
	for others, want := range map[string]string{"": "", "b": "Elected a"} {
		synctest.Test(t, func(t *testing.T) {
			m := storetest.New()
			if others != "" {
				stopped := Server{Name: others, Address: "127.0.0.1:1", Version: "test"}.trace()
				stopped.StoppedUnix = 100
				if _, err := m.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: knownKey(others), Value: encode(stopped)}}}); err != nil {
					t.Fatal(err)
				}
			}
			a := start(t, m, "a")
			settle()
			if got := a.events(); got != want {
				t.Errorf("beside %q: %q, want %q", others, got, want)
			}
		})
	}
}

// TestLostIsSaidByOthers: a server whose registration ran out is told by the others, and
// does not say of itself that it is not heard.
func TestLostIsSaidByOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.New()
		var txn store.Txn
		for _, name := range []string{"a", "b"} {
			gone := Server{Name: name, Address: "127.0.0.1:1", Version: "test"}
			txn.Then = append(txn.Then, store.Write{Key: knownKey(name), Value: encode(gone.trace())})
		}
		if _, err := m.Commit(t.Context(), txn); err != nil {
			t.Fatal(err)
		}
		var noted []string
		r := New(Config{Server: Server{Name: "a"}, Store: m, Note: func(e Event) { noted = append(noted, e.Reason+" "+e.Server) }})
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { _ = r.servers.Run(ctx) })
		settle()
		all.Go(func() { _ = r.noteLost(ctx) })
		settle()
		cancel()
		all.Wait()
		if got := strings.Join(noted, ", "); got != "ServerLost b" {
			t.Error(got)
		}
	})
}
