package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-net/weft/server/store"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// defragTimeout bounds the rewriting of one member's file: 2 GiB on a slow disk.
const defragTimeout = 2 * time.Minute

// Endpoints are what Inspect and Defragment take: of an embedded member itself,
// of an etcd elsewhere one for each endpoint.
func (s *Store) Endpoints() []string {
	if s.server != nil {
		return []string{""}
	}
	return s.config.Endpoints
}

// Inspect answers how the file of one member is.
func (s *Store) Inspect(ctx context.Context, endpoint string) (store.MemberState, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	r, err := s.client.Status(ctx, endpoint)
	if err != nil {
		return store.MemberState{}, s.explain(ctx, "inspect "+endpoint, err)
	}
	return store.MemberState{Size: r.DbSize, InUse: r.DbSizeInUse, Quota: r.DbSizeQuota}, nil
}

// Defragment rewrites the file of one member, which answers nothing meanwhile.
func (s *Store) Defragment(ctx context.Context, endpoint string) error {
	ctx, cancel := context.WithTimeout(ctx, defragTimeout)
	defer cancel()
	if s.server != nil { // the in-process client's own way lacks a part, and panics
		if err := s.server.etcd.Server.Defragment(); err != nil {
			return fmt.Errorf("etcd: defragment: %w", err)
		}
		return nil
	}
	if _, err := s.client.Defragment(ctx, endpoint); err != nil {
		return s.explain(ctx, "defragment "+endpoint, err)
	}
	return nil
}

// Full says whether etcd takes no writes because some member's file reached its
// quota.
func (s *Store) Full(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	r, err := s.client.AlarmList(ctx)
	if err != nil {
		return false, s.explain(ctx, "list alarms", err)
	}
	for _, a := range r.Alarms {
		if a.Alarm == etcdserverpb.AlarmType_NOSPACE {
			return true, nil
		}
	}
	return false, nil
}

// Disarm ends the alarms of members that were full.
func (s *Store) Disarm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	r, err := s.client.AlarmList(ctx)
	if err != nil {
		return s.explain(ctx, "list alarms", err)
	}
	var errs []error
	for _, a := range r.Alarms {
		if a.Alarm != etcdserverpb.AlarmType_NOSPACE {
			continue
		}
		if _, err := s.client.AlarmDisarm(ctx, (*clientv3.AlarmMember)(a)); err != nil {
			errs = append(errs, s.explain(ctx, fmt.Sprintf("disarm member %016x", a.MemberID), err))
		}
	}
	return errors.Join(errs...)
}

// CompactAll forgets all history up to now, and waits until every asked member
// has.
func (s *Store) CompactAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, defragTimeout)
	defer cancel()
	r, err := s.get(ctx, store.Fabric+"epoch")
	if err != nil {
		return s.explain(ctx, "compact", err)
	}
	_, err = s.client.Compact(ctx, r.Header.Revision, clientv3.WithCompactPhysical())
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return s.explain(ctx, fmt.Sprintf("compact at %d", r.Header.Revision), err)
	}
	return nil
}

// Revision is that of the last change in the whole store.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	r, err := s.get(ctx, store.Fabric+"epoch", clientv3.WithCountOnly())
	if err != nil {
		return 0, s.explain(ctx, "ask for the revision", err)
	}
	return r.Header.Revision, nil
}
