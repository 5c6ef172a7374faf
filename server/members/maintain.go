package members

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/store"
)

// Times and sizes of maintenance.
const (
	lookEvery    = 15 * time.Second
	compactEvery = time.Hour
	defragFrom   = 100 << 20 // bytes of a file; below, its free space is no matter
)

// maintain looks after etcd while this server leads.
func (r *Room) maintain(ctx context.Context) error {
	if r.cfg.Files == nil {
		return nil
	}
	defer r.found("etcd-full", nil)
	var compacted time.Time
	var before int64
	for {
		if err := r.look(ctx); err != nil && ctx.Err() == nil {
			r.cfg.Log.Warn("etcd not maintained", note.Err, err, note.Retry, lookEvery)
		}
		if now := r.cfg.Now(); r.cfg.Mode == Elsewhere && now.Sub(compacted) >= compactEvery {
			if next, err := r.compact(ctx, before); err == nil {
				compacted, before = now, next
			}
		}
		if !pause(ctx, lookEvery) {
			return nil
		}
	}
}

// compact forgets the history of an etcd elsewhere up to what was the last
// revision an hour ago; an embedded one does so by itself.
func (r *Room) compact(ctx context.Context, before int64) (now int64, err error) {
	if before > 0 {
		if err := r.cfg.Files.Compact(ctx, before); err != nil {
			return before, err
		}
	}
	return r.cfg.Files.Revision(ctx)
}

// look mends an etcd that is full, and gives free space back.
func (r *Room) look(ctx context.Context) error {
	full, err := r.cfg.Files.Full(ctx)
	if err != nil {
		return err
	}
	if full {
		return r.mend(ctx)
	}
	r.found("etcd-full", nil)
	all, err := r.files(ctx)
	for _, f := range all {
		if wasteful(f.state) {
			r.cfg.Log.Info("etcd member defragmented", note.Server, f.name, note.Bytes, f.state.Size-f.state.InUse)
			err = errors.Join(err, f.defrag(ctx))
		}
	}
	return err
}

// wasteful says whether a file is worth defragmenting: large, and more than half
// of it free.
func wasteful(s store.MemberState) bool { return s.Size > defragFrom && s.InUse < s.Size/2 }

// roomy says whether there is room again: a tenth of the quota.
func roomy(s store.MemberState) bool { return s.Quota == 0 || s.Size < s.Quota/10*9 }

// mend makes room in an etcd that takes no writes: history goes, then each member
// gives its free space back, one after the other. If that is enough it takes
// writes again, else what fills it is an operator's to find.
func (r *Room) mend(ctx context.Context) error {
	r.cfg.Log.Warn("etcd was full", note.Do, "history is compacted, members are defragmented")
	if err := r.cfg.Files.CompactAll(ctx); err != nil {
		r.found("etcd-full", r.fullProblem("its history cannot be compacted: "+err.Error()))
		return err
	}
	before, err := r.files(ctx)
	for _, f := range before {
		err = errors.Join(err, f.defrag(ctx))
	}
	after, inspect := r.files(ctx)
	if err = errors.Join(err, inspect); err != nil {
		r.found("etcd-full", r.fullProblem(err.Error()))
		return err
	}
	for _, f := range after {
		if !roomy(f.state) {
			r.found("etcd-full", r.fullProblem(fmt.Sprintf("%s still holds %d MiB of %d MiB", f.name, f.state.Size>>20, f.state.Quota>>20)))
			return nil
		}
	}
	if err := r.cfg.Files.Disarm(ctx); err != nil {
		return err
	}
	r.cfg.Log.Info("etcd took writes again")
	r.cfg.Note(Event{Reason: "StoreMended", Message: "etcd was full: it was compacted and defragmented, and takes writes again"})
	r.found("etcd-full", nil)
	return nil
}
