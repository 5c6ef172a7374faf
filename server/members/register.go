package members

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-net/weft/server/store"
)

// twinWait is how long a registration under our name by somebody else is taken
// for an earlier life of ours, whose lease has not run out.
const twinWait = 12 * time.Second

// register keeps this server's registration while ctx lives.
func (r *Room) register(ctx context.Context) error {
	var met time.Time
	return r.cfg.Store.Hold(ctx, liveKey(r.cfg.Server.Name), func(old store.Entry) ([]byte, error) {
		twin, err := decode[Server](old)
		if old.Revision == 0 || err != nil || twin.Instance == r.cfg.Server.Instance || twin.Address == r.cfg.Server.Address {
			return encode(r.cfg.Server), nil // free, or an earlier life of ours
		}
		if met.IsZero() {
			met = r.cfg.Now()
		}
		if r.cfg.Now().Sub(met) < twinWait {
			return nil, store.ErrHeld
		}
		return nil, fmt.Errorf("members: another server runs as %s, at %s: give one of them another --name; if this data folder is a copy of that one's, "+
			"start with an empty one and --server https://%s --token-file FILE", r.cfg.Server.Name, twin.Address, twin.Address)
	})
}

// leaveTrace writes what stays of a server, if it is not so yet.
func (r *Room) leaveTrace(ctx context.Context, t trace) error {
	return r.changeTrace(ctx, t.Name, func(old trace) (trace, bool) { return t, old != t })
}

// changeTrace changes what stays of a server, from what is stored now.
func (r *Room) changeTrace(ctx context.Context, name string, change func(trace) (trace, bool)) error {
	const tries = 5
	for try := 1; ; try++ {
		e, ok := r.servers.Get(knownKey(name))
		if try > 1 || !ok {
			var err error
			if e, err = r.cfg.Store.Get(ctx, knownKey(name)); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		var old trace
		if e.Revision != 0 {
			old, _ = decode[trace](e) // what cannot be read is written anew
		}
		next, changed := change(old)
		if !changed {
			return nil
		}
		_, err := r.cfg.Store.Commit(ctx, store.Txn{
			If:   []store.Cond{{Key: knownKey(name), Revision: e.Revision}},
			Then: []store.Write{{Key: knownKey(name), Value: encode(next)}},
		})
		if !errors.Is(err, store.ErrConflict) || try == tries {
			return err
		}
	}
}

// whyBytes bounds the reason that a server leaves behind.
const whyBytes = 400

// sayStopped leaves word that this server stopped in good order, or why it did not:
// an etcd that gave up for want of room may still have that put down by the others.
func (r *Room) sayStopped(ended context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ended), stopWithin)
	defer cancel()
	if !r.registered() {
		return
	}
	t := r.trace()
	switch cause := context.Cause(ended); {
	case errors.Is(cause, context.Canceled), errors.Is(cause, store.ErrFenced), errors.Is(cause, store.ErrWentBack):
		t.StoppedUnix = r.cfg.Now().Unix()
	default:
		t.Why = fmt.Sprintf("%.*s", whyBytes, cause.Error())
	}
	_ = r.leaveTrace(ctx, t) // without it the server counts as lost, which is told too
}

// noteLost records since when another server is missing. That this one's own registration
// ran out, because the store or the machine was slow, is for the others to see: who can
// say it is not lost.
func (r *Room) noteLost(ctx context.Context) error {
	for {
		changed := r.next()
		for _, s := range r.Servers() {
			if s.State != Lost || !s.Since.IsZero() || s.Address == "" || s.Name == r.cfg.Server.Name {
				continue
			}
			lost := false
			err := r.changeTrace(ctx, s.Name, func(t trace) (trace, bool) {
				if _, live := r.servers.Get(liveKey(s.Name)); live || t.Name == "" || t.LostUnix != 0 || t.StoppedUnix != 0 {
					return t, false
				}
				t.LostUnix, lost = r.cfg.Now().Unix(), true
				return t, true
			})
			if err != nil {
				return err
			}
			if lost {
				r.cfg.Note(Event{Server: s.Name, Reason: "ServerLost", Message: "server " + s.Name + " at " + s.Address + " is not heard any more"})
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// next is closed at the next change.
func (r *Room) next() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}
