package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/store"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// Hold keeps a key while ctx lives, under a lease that ends with this process.
// write answers its value, given what somebody left there; an error of its ends
// Hold. A lease that was lost is taken anew.
func (s *Store) Hold(ctx context.Context, key string, write func(old store.Entry) ([]byte, error)) error {
	for {
		err := s.hold(ctx, key, write)
		var ended errFunction
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &ended):
			return ended.error
		case s.client.Ctx().Err() != nil:
			return fmt.Errorf("etcd: hold %s: %w", key, errClosed)
		}
		s.config.Log.Warn("registration interrupted", note.Path, key, note.Err, err, note.Retry, electionPause)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(electionPause):
		}
	}
}

// hold is one life of the lease.
func (s *Store) hold(ctx context.Context, key string, write func(store.Entry) ([]byte, error)) error {
	session, err := s.session(ctx)
	if err != nil {
		return s.explain(ctx, "hold "+key, err)
	}
	defer s.end(session)
	for {
		old, err := s.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		value, err := write(old)
		if err != nil {
			return errFunction{err}
		}
		put, cancel := context.WithTimeout(ctx, s.config.Timeout)
		r, err := s.client.Txn(put).If(clientv3.Compare(clientv3.ModRevision(key), "=", old.Revision)).
			Then(clientv3.OpPut(key, string(value), clientv3.WithLease(session.Lease()))).Commit()
		cancel()
		if err != nil {
			return s.explain(ctx, "hold "+key, err)
		}
		if r.Succeeded {
			return s.keep(ctx, session, store.Cond{Key: key, Revision: r.Header.Revision})
		}
	}
}

// keep returns when a key that was put is there no more.
func (s *Store) keep(ctx context.Context, session *concurrency.Session, put store.Cond) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	taken := make(chan error, 1)
	go func() { taken <- s.untilTaken(ctx, put) }()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-session.Done():
		return errors.New("its lease ran out")
	case err := <-taken:
		if err == nil {
			err = errors.New("it was taken away")
		}
		return err
	}
}
