package members

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/store"
)

// Files maintains the files of etcd's members: this server's own, or those of an
// etcd elsewhere, by endpoint.
type Files interface {
	Endpoints() []string
	Inspect(ctx context.Context, endpoint string) (store.MemberState, error)
	Defragment(ctx context.Context, endpoint string) error
	Full(ctx context.Context) (bool, error)
	Disarm(ctx context.Context) error
	CompactAll(ctx context.Context) error
	Compact(ctx context.Context, revision int64) error
	Revision(ctx context.Context) (int64, error)
}

// Times and sizes of maintenance.
const (
	lookEvery    = 15 * time.Second
	compactEvery = time.Hour
	defragFrom   = 100 << 20 // bytes of a file; below, its free space is no matter
)

// Problem is what is wrong with the servers or their store.
type Problem struct {
	Subject, Cause, Remedy string
	Since                  time.Time
}

// file is one member's file, and how to defragment it.
type file struct {
	name   string
	state  store.MemberState
	defrag func(ctx context.Context) error
}

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

func (r *Room) fullProblem(why string) *Problem {
	p := &Problem{
		Subject: "etcd", Cause: "etcd is full and takes no writes, after compaction and defragmentation: " + why,
		Remedy: "nodes keep their paths and pods; find what fills it (weft get nodes -o name | wc -l, so for leases and endpoints; weft token ls; weft user ls; the journal is bounded), delete it, and this server mends the rest within seconds",
	}
	if r.cfg.Mode == Elsewhere {
		p.Remedy = "nodes keep their paths and pods; look what else is in that etcd (etcdctl get --prefix --keys-only /), or raise its --quota-backend-bytes"
	}
	return p
}

// found keeps or takes back a problem.
func (r *Room) found(subject string, p *Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p == nil {
		delete(r.problem, subject)
		return
	}
	p.Since = r.cfg.Now()
	if old, ok := r.problem[subject]; ok {
		p.Since = old.Since
	}
	r.problem[subject] = *p
}

// files inspects all members; those that do not answer are left out, with an
// error. The raft leader is the last.
func (r *Room) files(ctx context.Context) ([]file, error) {
	if r.cfg.Roster == nil {
		return r.filesByEndpoint(ctx)
	}
	members, err := r.cfg.Roster.Members(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(members, func(a, b store.Member) int {
		switch {
		case a.Leader == b.Leader:
			return strings.Compare(a.Name, b.Name)
		case a.Leader:
			return 1
		}
		return -1
	})
	var out []file
	var errs []error
	for _, m := range members {
		f, err := r.fileOf(ctx, m)
		if err != nil {
			errs = append(errs, fmt.Errorf("members: etcd of server %s: %w", m.Name, err))
			continue
		}
		out = append(out, f)
	}
	return out, errors.Join(errs...)
}

func (r *Room) fileOf(ctx context.Context, m store.Member) (file, error) {
	if m.Self {
		s, err := r.cfg.Files.Inspect(ctx, "")
		return file{m.Name, s, func(ctx context.Context) error { return r.cfg.Files.Defragment(ctx, "") }}, err
	}
	e, ok := r.servers.Get(liveKey(m.Name))
	if !ok {
		return file{}, errors.New("it is not there")
	}
	s, err := decode[Server](e)
	if err != nil {
		return file{}, err
	}
	conn, err := r.lines.to(s.Address)
	if err != nil {
		return file{}, err
	}
	client := weftv1.NewMembersClient(conn)
	within, cancel := context.WithTimeout(ctx, forwardWithin)
	defer cancel()
	a, err := client.Inspect(within, &weftv1.MembersInspectRequest{})
	if err != nil {
		r.lines.outlived(s.Address, conn, err)
		return file{}, err
	}
	return file{m.Name, store.MemberState{Size: a.GetSizeBytes(), InUse: a.GetInUseBytes(), Quota: a.GetQuotaBytes()}, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, defragWithin)
		defer cancel()
		_, err := client.Defragment(ctx, &weftv1.MembersDefragmentRequest{})
		return err
	}}, nil
}

// defragWithin bounds the defragmentation of another server's member.
const defragWithin = 3 * time.Minute

func (r *Room) filesByEndpoint(ctx context.Context) ([]file, error) {
	var out []file
	var errs []error
	for _, e := range r.cfg.Files.Endpoints() {
		s, err := r.cfg.Files.Inspect(ctx, e)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, file{e, s, func(ctx context.Context) error { return r.cfg.Files.Defragment(ctx, e) }})
	}
	return out, errors.Join(errs...)
}
