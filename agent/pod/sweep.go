package pod

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/proto/cniwire"
	"github.com/weft-net/weft/proto/note"
)

// sweepEvery is how often the namespaces of all records are looked at.
const sweepEvery = time.Minute

// alive tells whether a record's namespace is there. When that cannot be told, it
// is: nothing is given back on a guess.
func (k *Keeper) alive(r Record) bool {
	id, err := k.Namespaces.Identify(r.NetNS)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return err != nil || id.Same(r.NSID)
}

// Sweep gives back the attachments whose namespace has been gone for Grace, ends
// rests that are over, and tries again what could not be removed. Container
// runtimes do not call GC, so the agent looks by itself.
func (k *Keeper) Sweep(ctx context.Context) {
	for _, e := range k.all() {
		if ctx.Err() != nil {
			return
		}
		if k.overdue(e) {
			k.reap(ctx, e.ID())
		}
	}
	k.endRests()
}

// overdue notes whether an attachment's namespace is gone, and tells whether it
// has been for long enough.
func (k *Keeper) overdue(e entry) bool {
	dead := e.phase == leaving || !k.alive(e.Record)
	now := k.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	live := k.entries[e.ID()]
	switch {
	case live == nil:
		return false
	case !dead:
		live.gone = time.Time{}
		return false
	case live.gone.IsZero():
		live.gone = now
	}
	return now.Sub(live.gone) >= k.Grace
}

// reap gives one attachment back, unless a verb works on it.
func (k *Keeper) reap(ctx context.Context, id ID) {
	done := k.turns.try(id)
	if done == nil {
		return
	}
	defer done()
	e := k.entry(id)
	if e == nil || (e.phase != leaving && k.alive(e.Record)) {
		return
	}
	if err := k.remove(ctx, id); err != nil {
		k.Log.Warn("dead attachment not given back", note.Pod, e.Who(), note.Err, err, note.Retry, sweepEvery)
		return
	}
	k.Log.Info("dead attachment given back", note.Pod, e.Who(), note.Path, e.NetNS)
}

// endRests forgets the addresses that have rested.
func (k *Keeper) endRests() {
	now, ended := k.Now(), false
	defer func() {
		if ended {
			k.OnChange()
		}
	}()
	k.mu.Lock()
	defer k.mu.Unlock()
	for a, since := range k.freed {
		if now.Sub(since) >= ipam.RestAddr {
			delete(k.freed, a)
			ended = true
		}
	}
	for dev, since := range k.resting {
		if now.Sub(since) < ipam.RestAddr {
			continue
		}
		if err := k.shelf.drop(dev, suffixResting); err != nil {
			k.Log.Warn("rested record not removed", note.Dev, dev, note.Err, err)
			continue
		}
		delete(k.resting, dev)
	}
}

// Heal makes veths anew that somebody deleted while their pod lives, and removes
// those that belong to no attachment.
func (k *Keeper) Heal(ctx context.Context) error {
	links, err := k.Kernel.Observe(ctx, datapath.Of(datapath.KindLink))
	if err != nil {
		return err
	}
	k.release(links)
	var errs []error
	for _, e := range k.all() {
		if e.phase == ready && links[e.link().Key()] == nil {
			errs = append(errs, k.remake(ctx, e.ID()))
		}
	}
	for _, o := range links {
		if l, ok := o.(datapath.Link); ok && l.Type == datapath.LinkVeth {
			errs = append(errs, k.removeOrphan(ctx, l.Name))
		}
	}
	return errors.Join(errs...)
}

// remake attaches a pod again from its record, unless a verb works on it. That of
// a namespace that is gone is no longer asked of the loop.
func (k *Keeper) remake(ctx context.Context, id ID) error {
	done := k.turns.try(id)
	if done == nil {
		return nil
	}
	defer done()
	e := k.entry(id)
	if e == nil || e.phase != ready {
		return nil
	}
	if !k.alive(e.Record) {
		k.mark(e, func() { e.attached = false })
		return nil
	}
	if err := k.attach(ctx, e.Record); err != nil {
		return again("attach anew", e.Record, err)
	}
	k.mark(e, func() { e.attached = true })
	if err := k.sync(ctx, e.Record, k.keys(e.Record)); err != nil {
		return err
	}
	k.Log.Info("pod attached anew", note.Pod, e.Who(), note.Dev, e.HostDev)
	return nil
}

// removeOrphan removes a device of no attachment, or of one whose ADD was cut off.
// An attachment is entered before its device is made, so a device that was seen
// without one has none. The device of an unreadable record stays for a person.
func (k *Keeper) removeOrphan(ctx context.Context, dev string) error {
	k.mu.Lock()
	id, known := k.byDev[dev]
	_, unreadable := k.asides[dev]
	live := known && k.entries[id].phase != adding
	k.mu.Unlock()
	if live || unreadable {
		return nil
	}
	if known {
		done := k.turns.try(id)
		if done == nil {
			return nil
		}
		defer done()
		if e := k.entry(id); e != nil && e.phase != adding {
			return nil
		}
	}
	if err := k.Kernel.Detach(ctx, dev); err != nil {
		return cniwire.Errorf(cniwire.CodeTryAgain, "pod: remove %s, which is no pod's: %v", dev, err)
	}
	k.Log.Warn("device of no pod removed", note.Dev, dev)
	return nil
}
