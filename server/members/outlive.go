package members

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// outlive watches the leader while another server leads. One that died keeps its
// office until its lease runs out, and where its etcd led too, the next leader of
// etcd gives all leases their whole time again (etcd, server/lease: Promote). So its
// candidacy is taken away before: when its machine says that nobody listens there
// any more (RFC 9293, section 3.10.7.1: a reset), or when it says nothing at all. A
// process that is merely slow has a machine that answers. If it was wrong nothing is
// lost: what a leader writes carries its fence, and it stands again behind the
// others. Only who was reached at that address before is held to have died.
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
		for why := r.died(ctx, leader); why != "" && !r.bury(ctx, leader, why); {
			if why = ""; pause(ctx, again) && r.stillLeads(leader) {
				why = gone(ctx, leader.Address)
			}
		}
	}
	return nil
}

// Times of looking whether the leader is there.
const (
	askEvery   = time.Second
	askWithin  = time.Second
	knocks     = 4 // connects, one after the other, that a machine that is there would answer
	knockEvery = 400 * time.Millisecond
)

// died answers why a leader that was reached is held to have died, and nothing when
// another one leads.
func (r *Room) died(ctx context.Context, leader Server) string {
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
	for ctx.Err() == nil {
		conn, err := r.lines.to(leader.Address)
		if err != nil {
			return ""
		}
		state := conn.GetState()
		if state == connectivity.Ready {
			reached = true
			if answers(ctx, conn) {
				within(ctx, askEvery, func(ctx context.Context) { conn.WaitForStateChange(ctx, state) })
				continue
			}
		}
		if reached {
			if why := gone(ctx, leader.Address); why != "" && ctx.Err() == nil {
				return why
			}
		}
		if state == connectivity.Idle {
			conn.Connect()
		}
		within(ctx, askEvery, func(ctx context.Context) { conn.WaitForStateChange(ctx, state) })
		if conn.GetState() == connectivity.Shutdown && !pause(ctx, again) { // lines dropped it
			return ""
		}
	}
	return ""
}

func within(ctx context.Context, d time.Duration, do func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	do(ctx)
}

// answers asks a server what costs it least.
func answers(ctx context.Context, conn grpc.ClientConnInterface) (ok bool) {
	within(ctx, askWithin, func(ctx context.Context) {
		_, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
		code := status.Code(err)
		ok = code != codes.Unavailable && code != codes.DeadlineExceeded
	})
	return ok
}

func (r *Room) stillLeads(leader Server) bool {
	now, self := r.Leader()
	return !self && now.Instance == leader.Instance
}

// gone answers why nobody can be at an address: its machine refuses connections, or
// answers none of several. A process that restarts may be between two lives: then it
// stands anew anyway.
func gone(ctx context.Context, address string) string {
	refused, silent := 0, 0
	for refused < 2 && silent < knocks {
		var err error
		within(ctx, knockEvery, func(ctx context.Context) {
			var conn net.Conn
			if conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", address); err == nil {
				_ = conn.Close()
			}
		})
		switch {
		case err == nil, ctx.Err() != nil, errors.Is(err, syscall.ENETUNREACH): // the last is about us
			return ""
		case !errors.Is(err, syscall.ECONNREFUSED):
			silent++ // a time-out took its time; no route may be told at once
			refused = 0
		default:
			refused++
			silent = 0
		}
		if !pause(ctx, 50*time.Millisecond) {
			return ""
		}
	}
	if refused > 0 {
		return "its machine refuses connections"
	}
	return "its machine answers nothing"
}

// buryWithin bounds one try: what is asked of an etcd whose leader just died is
// lost, and answered by nobody.
const buryWithin = 500 * time.Millisecond

// bury takes away candidacy and registration of a leader that died. It answers
// false when that must be tried again: where the leader's etcd died along, the
// others may have to elect another first.
func (r *Room) bury(ctx context.Context, leader Server, why string) bool {
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
	r.cfg.Log.Warn("leader died", note.Server, leader.Name, note.Addr, leader.Address, note.Why, why)
	return true
}
