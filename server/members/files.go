package members

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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

// file is one member's file, and how to defragment it.
type file struct {
	name   string
	state  store.MemberState
	defrag func(ctx context.Context) error
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

// Inspect implements weftv1.MembersServer.
func (s *Service) Inspect(ctx context.Context, _ *weftv1.MembersInspectRequest) (*weftv1.MembersInspectResponse, error) {
	if s.Room.cfg.Mode == Elsewhere {
		return nil, status.Error(codes.FailedPrecondition, "this server has no etcd of its own")
	}
	m, err := s.Room.cfg.Files.Inspect(ctx, "")
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return &weftv1.MembersInspectResponse{SizeBytes: m.Size, InUseBytes: m.InUse, QuotaBytes: m.Quota}, nil
}

// Defragment implements weftv1.MembersServer.
func (s *Service) Defragment(ctx context.Context, _ *weftv1.MembersDefragmentRequest) (*weftv1.MembersDefragmentResponse, error) {
	if s.Room.cfg.Mode == Elsewhere {
		return nil, status.Error(codes.FailedPrecondition, "this server has no etcd of its own")
	}
	if err := s.Room.cfg.Files.Defragment(ctx, ""); err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return &weftv1.MembersDefragmentResponse{}, nil
}
