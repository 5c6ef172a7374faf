package reconcile

import (
	"context"
	"errors"
	"fmt"

	"github.com/weft-net/weft/agent/datapath"
)

// ErrStopped means that Run has ended.
var ErrStopped = errors.New("reconcile: the loop has stopped")

// Sync plans anew and makes the objects of these keys as they should be, now:
// there, or gone if they are not wanted. Calls that come together share one plan
// and one batch of steps. The kernel is not looked at; what can go away unseen
// with a device is made again even where our last commit has it.
//
// The error is that of these keys, or of ctx.
func (l *Loop) Sync(ctx context.Context, keys []datapath.Key) error {
	err := l.ask(request{ctx: ctx, keys: keys})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("reconcile: %d objects not applied in time: %w", len(keys), err)
	}
	return err
}

// Drift plans anew, looks at everything and says which steps lie between, without
// taking any.
func (l *Loop) Drift(ctx context.Context) ([]datapath.Op, error) {
	var ops []datapath.Op
	var err error
	asked := l.ask(request{ctx: ctx, do: func(ctx context.Context) {
		var have datapath.State
		if err = l.replan(ctx); err != nil {
			return
		}
		if have, err = l.observe(ctx, datapath.AllKinds); err != nil {
			err = fmt.Errorf("reconcile: look: %w", err)
			return
		}
		ops = datapath.Diff(l.want.state, have)
	}})
	if asked != nil { // then Run's goroutine may still be at it
		return nil, asked
	}
	return ops, err
}

func (l *Loop) ask(r request) error {
	r.done = make(chan error, 1)
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrStopped
	}
	l.requests = append(l.requests, r)
	l.mu.Unlock()
	l.rouse()
	select {
	case err := <-r.done:
		return err
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

// refuse answers those who wait when Run ends.
func (l *Loop) refuse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, r := range l.requests {
		r.done <- ErrStopped
	}
	l.requests = nil
}

// serve does what was asked for since the last time.
func (l *Loop) serve(ctx context.Context) {
	l.mu.Lock()
	asked := l.requests
	l.requests = nil
	l.mu.Unlock()
	var syncs []request
	for _, r := range asked {
		switch {
		case r.ctx.Err() != nil:
			r.done <- context.Cause(r.ctx)
		case r.do != nil:
			r.do(r.ctx)
			r.done <- nil
		default:
			syncs = append(syncs, r)
		}
	}
	if len(syncs) > 0 {
		l.sync(ctx, syncs)
	}
}

// sync serves requests together.
func (l *Loop) sync(ctx context.Context, asked []request) {
	err := l.ready(ctx)
	if err == nil {
		err = l.replan(ctx)
	}
	if err != nil {
		answer(asked, func(datapath.Key) error { return err })
		return
	}
	failed := l.applyKeys(ctx, asked)
	if len(failed) > 0 {
		// What they rest on may be gone: look, mend everything, and try again.
		l.dirty.Or(uint32(datapath.AllKinds))
		l.turn(ctx, true)
		failed = l.stillFailing(failed)
	}
	answer(asked, func(k datapath.Key) error { return failed[l.want.canonical(k)] })
	// The plan may have changed elsewhere too.
	l.Kick(0)
}

// ready makes sure that have is known.
func (l *Loop) ready(ctx context.Context) error {
	if l.seen {
		return nil
	}
	l.turn(ctx, true)
	switch {
	case l.seen:
		return nil
	case l.lookErr.err != nil:
		return fmt.Errorf("reconcile: look: %w", l.lookErr.err)
	}
	return l.planErr.err
}

// applyKeys takes the steps for what was asked for, and gives the errors.
func (l *Loop) applyKeys(ctx context.Context, asked []request) map[datapath.Key]error {
	c := l.cut()
	for _, r := range asked {
		for _, k := range r.keys {
			c.add(l.want.canonical(k))
			c.again(l.want.canonical(k))
		}
	}
	ops := datapath.Diff(c.want, c.have)
	failed := map[datapath.Key]error{}
	if len(ops) == 0 {
		return failed
	}
	l.take(ctx, ops)
	for _, op := range ops {
		if err := l.errorOf(op); err != nil {
			failed[op.Key()] = err
		}
	}
	return failed
}

// cut is the part of want and have that some keys are about.
type cut struct {
	loop       *Loop
	want, have datapath.State
}

func (l *Loop) cut() cut {
	return cut{loop: l, want: datapath.State{}, have: datapath.State{}}
}

func (c cut) add(k datapath.Key) {
	if w, wanted := c.loop.want.state[k]; wanted {
		c.want[k] = w
		c.holder(w)
	}
	if h, had := c.loop.have[k]; had {
		c.have[k] = h
		c.holder(h)
	}
}

// again has what may have gone unseen with a device made again; nftables says
// when its objects go.
func (c cut) again(k datapath.Key) {
	if c.want[k] != nil && k.Kind < datapath.KindSet {
		delete(c.have, k)
	}
}

// holder adds the set or chain that an object lies in: Diff takes what lies in
// one that nobody wants to go with it.
func (c cut) holder(o datapath.Object) {
	var k datapath.Key
	switch o := o.(type) {
	case datapath.Element:
		k = datapath.Key{Kind: datapath.KindSet, ID: o.Set}
	case datapath.Rule:
		k = datapath.Key{Kind: datapath.KindChain, ID: o.Chain}
	default:
		return
	}
	if w, ok := c.loop.want.state[k]; ok {
		c.want[k] = w
	}
	if h, ok := c.loop.have[k]; ok {
		c.have[k] = h
	}
}

// errorOf is what became of a step just taken.
func (l *Loop) errorOf(op datapath.Op) error {
	if p := l.past[unit(op)]; p != nil {
		return p.err
	}
	return nil
}

// stillFailing keeps what is not as it should be.
func (l *Loop) stillFailing(failed map[datapath.Key]error) map[datapath.Key]error {
	out := map[datapath.Key]error{}
	for k, err := range failed {
		w, wanted := l.want.state[k]
		h, had := l.have[k]
		if wanted != had || wanted && w != h && !same(k, w, h) {
			if p := l.past[k]; p != nil && p.err != nil {
				err = p.err
			}
			out[k] = err
		}
	}
	return out
}

// answer gives each caller the errors of its own keys.
func answer(asked []request, of func(datapath.Key) error) {
	for _, r := range asked {
		var errs []error
		for _, k := range r.keys {
			if err := of(k); err != nil {
				errs = append(errs, err)
			}
		}
		r.done <- errors.Join(errs...)
	}
}
