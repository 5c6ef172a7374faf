package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/store"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// Election settings. A leader that vanished is replaced after its lease, by
// another at once.
const (
	elections = store.Election
	// A leader that vanished is missed for this long and up to half a second, in
	// which etcd looks for leases that ran out. etcd takes no less than one and a
	// half of its own election timeouts (server/lease: minLeaseTTL).
	electionSeconds = 3
	electionPause   = 200 * time.Millisecond
)

// Campaign stands for an election, as id, until ctx ends. Whenever it is elected
// it calls lead, with a context that ends when the office does, and waits for it.
// Writes of a leader carry fence: they fail with ErrConflict once it is deposed,
// also if it does not know that yet.
//
// An error of lead ends the office and the campaign. An office that was lost is
// stood for again.
func (s *Store) Campaign(ctx context.Context, name, id string, lead func(ctx context.Context, fence store.Cond) error) error {
	for {
		led, err := s.stand(ctx, name, id, lead)
		switch {
		case led && err != nil && ctx.Err() == nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case s.client.Ctx().Err() != nil:
			return fmt.Errorf("etcd: election %s: %w", name, errClosed)
		case err != nil:
			s.config.Log.Warn("election interrupted", note.Path, name, note.Err, err, note.Retry, electionPause)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(electionPause):
		}
	}
}

// stand is one candidacy. led says that err is lead's.
func (s *Store) stand(ctx context.Context, name, id string, lead func(context.Context, store.Cond) error) (led bool, err error) {
	session, err := s.session(ctx)
	if err != nil {
		return false, s.explain(ctx, "election "+name, err)
	}
	defer s.end(session)
	term, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(session.Ctx(), cancel)
	defer stop()
	fence, err := s.office(term, elections+name+"/", id, session.Lease())
	if err != nil {
		return false, s.explain(ctx, "election "+name, err)
	}
	s.config.Log.Info("elected", note.Path, name, note.Rev, fence.Revision)
	taken := make(chan bool, 1)
	go func() {
		defer cancel()
		taken <- s.untilTaken(term, fence) == nil
	}()
	err = lead(term, fence)
	cancel()
	if deposed := <-taken; (deposed || session.Ctx().Err() != nil) && ctx.Err() == nil {
		s.config.Log.Warn("office lost", note.Path, name, note.Rev, fence.Revision)
		return false, nil
	}
	return true, err
}

// untilTaken returns nil when a key is no more as it was written: others may take
// away what hangs on a lease that lives. Else ctx has ended, or the store.
func (s *Store) untilTaken(ctx context.Context, written store.Cond) error {
	for after := written.Revision; ; {
		err := s.Watch(ctx, written.Key, after, func(b store.Batch) error {
			if slices.ContainsFunc(b.Events, func(e store.Event) bool { return e.Key == written.Key }) {
				return errLeft
			}
			return nil
		})
		switch {
		case errors.Is(err, errLeft):
			return nil
		case !errors.Is(err, store.ErrCompacted):
			return err
		}
		now, err := s.Get(ctx, written.Key)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, store.ErrNotFound), err == nil && now.Revision != written.Revision:
			return nil
		}
		if after, err = s.Revision(ctx); err != nil { // the key stood before it
			after = written.Revision
		}
	}
}

// endTimeout is for giving a lease back. One that is not runs out by itself.
const endTimeout = time.Second

// end gives a lease back, so that what hangs on it is gone at once.
func (s *Store) end(session *concurrency.Session) {
	session.Orphan()
	ctx, cancel := context.WithTimeout(s.client.Ctx(), endTimeout)
	defer cancel()
	_, _ = s.client.Revoke(ctx, session.Lease())
}

// office puts up a candidate, and returns when no older one is left. What an
// earlier life of the same id left behind is taken away: it cannot lead. The
// concurrency package would do, but its Campaign ends only when etcd answers.
func (s *Store) office(ctx context.Context, prefix, id string, lease clientv3.LeaseID) (store.Cond, error) {
	key := fmt.Sprintf("%s%016x", prefix, lease)
	put, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	r, err := s.client.Put(put, key, id, clientv3.WithLease(lease))
	if err != nil {
		return store.Cond{}, err
	}
	fence := store.Cond{Key: key, Revision: r.Header.Revision}
	for {
		candidates, revision, err := s.List(ctx, prefix)
		if err != nil {
			return store.Cond{}, err
		}
		first := oldest(candidates)
		if (store.Cond{Key: first.Key, Revision: first.Revision}) == fence {
			return fence, nil
		}
		if string(first.Value) == id {
			if err := s.bury(ctx, first); err != nil {
				return store.Cond{}, err
			}
			continue
		}
		err = s.Watch(ctx, prefix, revision, func(b store.Batch) error {
			if slices.ContainsFunc(b.Events, func(e store.Event) bool { return e.Value == nil }) {
				return errLeft
			}
			return nil
		})
		if !errors.Is(err, errLeft) && !errors.Is(err, store.ErrCompacted) {
			return store.Cond{}, err
		}
	}
}

var errLeft = errors.New("a candidate left")

func oldest(candidates []store.Entry) store.Entry {
	if len(candidates) == 0 {
		return store.Entry{}
	}
	return slices.MinFunc(candidates, func(a, b store.Entry) int { return cmp.Compare(a.Created, b.Created) })
}

// bury takes a candidacy away that nobody stands for any more.
func (s *Store) bury(ctx context.Context, dead store.Entry) error {
	_, err := s.Commit(ctx, store.Txn{
		If:   []store.Cond{{Key: dead.Key, Revision: dead.Revision}},
		Then: []store.Write{{Key: dead.Key}},
	})
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}

// session is kept alive by etcd's client. It outlives ctx, so that it can be
// ended properly, and ends with the client.
func (s *Store) session(ctx context.Context) (*concurrency.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	lease, err := s.client.Grant(ctx, electionSeconds)
	if err != nil {
		return nil, err
	}
	return concurrency.NewSession(s.client, concurrency.WithLease(lease.ID), concurrency.WithTTL(electionSeconds))
}

// forgetElections lets the only server of a fabric lead at once after a crash,
// and not after its own lease. Nobody else can hold an office: the data folder is
// ours.
func (s *Store) forgetElections(ctx context.Context) error {
	if len(s.server.etcd.Server.Cluster().Members()) > 1 {
		return nil
	}
	_, err := s.Commit(ctx, store.Txn{Then: []store.Write{{Key: elections, Prefix: true}}})
	return err
}
