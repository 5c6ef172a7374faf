package members

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/connectivity"
)

// outlive watches the leader while another server leads. One whose process died
// keeps its office until its lease runs out; its machine says at once that nobody
// listens there any more (RFC 9293, section 3.10.7.1: a reset), and then its
// candidacy is taken away. If that was wrong nothing is lost: what it wrote as a
// leader carried its fence, and it stands again behind the others. Only who was
// reached at that address before is held to have died.
func (r *Room) outlive(ctx context.Context) error {
	for ctx.Err() == nil {
		changed := r.next()
		leader, self := r.Leader()
		if self || leader.Name == "" {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		for dead := r.died(ctx, leader); dead && !r.bury(ctx, leader); {
			dead = pause(ctx, again) && r.stillLeads(leader) && refuses(ctx, leader.Address)
		}
	}
	return nil
}

// died returns true when a leader that was reached refuses connections, and false
// when another one leads.
func (r *Room) died(ctx context.Context, leader Server) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with ctx
		defer cancel()
		for r.stillLeads(leader) {
			changed := r.next()
			if !r.stillLeads(leader) {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	reached := false
	for {
		conn, err := r.lines.to(leader.Address)
		if err != nil {
			return false
		}
		state := conn.GetState()
		switch {
		case state == connectivity.Idle && reached, state == connectivity.TransientFailure && reached:
			if refuses(ctx, leader.Address) {
				return ctx.Err() == nil
			}
			conn.Connect()
		case state == connectivity.Idle:
			conn.Connect()
		}
		reached = reached || state == connectivity.Ready
		if !conn.WaitForStateChange(ctx, state) {
			return false
		}
		if conn.GetState() == connectivity.Shutdown && !pause(ctx, again) { // lines dropped it
			return false
		}
	}
}

func (r *Room) stillLeads(leader Server) bool {
	now, self := r.Leader()
	return !self && now.Instance == leader.Instance
}

// refuses says that a machine answers that nobody listens at an address.
func refuses(ctx context.Context, address string) bool {
	for range 2 { // a process that restarts may be between two lives: then it stands anew anyway
		within, cancel := context.WithTimeout(ctx, forwardWithin)
		conn, err := (&net.Dialer{}).DialContext(within, "tcp", address)
		cancel()
		if err == nil {
			_ = conn.Close()
			return false
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return false
		}
		if !pause(ctx, 50*time.Millisecond) {
			return false
		}
	}
	return true
}

// buryWithin bounds one try: what is asked of an etcd whose leader just died is
// lost, and answered by nobody.
const buryWithin = 500 * time.Millisecond

// bury takes away candidacy and registration of a leader that died. It answers
// false when that must be tried again: where the leader's etcd died along, the
// others may have to elect another first.
func (r *Room) bury(ctx context.Context, leader Server) bool {
	candidates, _ := r.candidates.Snapshot()
	name, office := first(candidates)
	e, ok := r.servers.Get(liveKey(leader.Name))
	if name != leader.Name || !ok {
		return true
	}
	if s, err := decode[Server](e); err != nil || s.Instance != leader.Instance {
		return true
	}
	live := store.Cond{Key: e.Key, Revision: e.Revision}
	within, cancel := context.WithTimeout(ctx, buryWithin)
	defer cancel()
	_, err := r.cfg.Store.Commit(within, store.Txn{
		If: []store.Cond{office, live}, Then: []store.Write{{Key: office.Key}, {Key: live.Key}},
	})
	if errors.Is(err, store.ErrConflict) {
		return true // another one was faster
	}
	if err != nil {
		r.cfg.Log.Debug("leader that died not deposed yet", note.Server, leader.Name, note.Err, err)
		return false
	}
	r.cfg.Log.Warn("leader died", note.Server, leader.Name, note.Addr, leader.Address, note.Why, "its machine refuses connections")
	return true
}
