package members

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/store"
)

// ErrNoLeader is the answer while no server leads.
var ErrNoLeader = errors.New("no server leads")

// workAgain is the pause before work that failed is begun again.
const workAgain = 5 * time.Second

func (r *Room) campaign(ctx context.Context) error {
	err := r.cfg.Store.Campaign(ctx, election, r.cfg.Server.Name, r.lead)
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("members: %w", err)
}

// lead is one office: it does the work of one until ctx ends.
func (r *Room) lead(ctx context.Context, fence store.Cond) error {
	r.setFence(fence)
	defer r.setFence(store.Cond{})
	if r.hasOthers() {
		r.cfg.Note(Event{Server: r.cfg.Server.Name, Reason: "Elected", Message: "server " + r.cfg.Server.Name + " leads"})
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, w := range r.work {
		wg.Go(func() { r.do(ctx, w) })
	}
	<-ctx.Done()
	return nil
}

// hasOthers tells whether there is another server, or was one: of a fabric with one it is
// no news that this one leads.
func (r *Room) hasOthers() bool {
	return slices.ContainsFunc(r.Servers(), func(s Status) bool { return s.Name != r.cfg.Server.Name })
}

func (r *Room) do(ctx context.Context, w work) {
	for {
		err := w.run(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		r.cfg.Log.Warn("leader's work failed", note.Op, w.name, note.Err, err, note.Retry, workAgain)
		if !pause(ctx, workAgain) {
			return
		}
	}
}

func (r *Room) setFence(fence store.Cond) {
	r.mu.Lock()
	r.fence = fence
	r.mu.Unlock()
	r.moved()
}

// Fence is what a leader's transactions carry: they fail once it is deposed. It
// answers false when this server does not lead.
func (r *Room) Fence() (store.Cond, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fence, r.fence != store.Cond{}
}

// Leader is the server that leads, and whether it is this one. Without one, or
// while it is not known where it is, Server is zero.
func (r *Room) Leader() (s Server, self bool) {
	if _, self := r.Fence(); self {
		return r.cfg.Server, true
	}
	candidates, _ := r.candidates.Snapshot()
	name, _ := first(candidates)
	if name == "" || name == r.cfg.Server.Name {
		return Server{}, false // ours, of an earlier life or about to be known
	}
	e, ok := r.servers.Get(liveKey(name))
	if !ok {
		return Server{}, false
	}
	s, err := decode[Server](e)
	if err != nil {
		return Server{}, false
	}
	return s, false
}

// awaitLeader answers with the leader, and waits for one until ctx ends.
func (r *Room) awaitLeader(ctx context.Context) (Server, bool, error) {
	for {
		changed := r.next()
		if s, self := r.Leader(); s.Name != "" {
			return s, self, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Server{}, false, fmt.Errorf("%w (there are: %s); one is elected within seconds once the store has a quorum", ErrNoLeader, r.names())
		}
	}
}
