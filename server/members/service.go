package members

import (
	"context"
	"errors"
	"time"

	"github.com/weft-net/weft/ipam"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/lease"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Secrets trades a server token for what makes a server: identity.Authority.
type Secrets interface {
	HandOver(ctx context.Context, token string, c identity.Caller) (identity.Handover, error)
	// ServerRemoval is the part of a transaction that ends a server's certificates.
	ServerRemoval(ctx context.Context, name string) (store.Txn, error)
}

// Service is weft.v1.Members of one server.
type Service struct {
	weftv1.UnimplementedMembersServer
	Room    *Room
	Local   Local // what this server does when it leads
	Secrets Secrets
	Agents  Agents
	Fabric  string // its name
	// Asker is who makes a call; nil: nobody is known.
	Asker func(ctx context.Context) Asker
}

// Agents asks the agents whose streams this server holds: push.Hub.Ask.
type Agents struct {
	Ask     func(ctx context.Context, node, method string, request []byte) ([]byte, error)
	NotHere error // of a node without a stream here
}

// List implements weftv1.MembersServer.
func (s *Service) List(context.Context, *weftv1.MembersListRequest) (*weftv1.MembersListResponse, error) {
	out := &weftv1.MembersListResponse{Servers: Wire(s.Room.Servers()), Server: s.Room.cfg.Server.Name}
	if silence, silent := s.Room.Silence(); silent {
		out.SilentSinceUnix = silence.Since.Unix()
	}
	return out, nil
}

// Wire puts servers into messages.
func Wire(all []Status) []*weftv1.ServerStatus {
	out := make([]*weftv1.ServerStatus, 0, len(all))
	for _, s := range all {
		m := &weftv1.ServerStatus{
			Name: s.Name, Address: s.Address, Leader: s.Leader, Version: s.Version, State: string(s.State), PeerUrl: s.Peer,
		}
		if !s.Since.IsZero() {
			m.SinceUnix = s.Since.Unix()
		}
		out = append(out, m)
	}
	return out
}

// maxSkew is how far apart the clocks of two servers may be: certificates are
// backdated by an hour, and everything that is dated is compared.
const maxSkew = 2 * time.Minute

// Join implements weftv1.MembersServer.
func (s *Service) Join(ctx context.Context, r *weftv1.MembersJoinRequest) (*weftv1.MembersJoinResponse, error) {
	secrets, err := s.Secrets.HandOver(ctx, r.GetToken(), identity.Caller{Name: r.GetName(), Known: r.GetKnown()})
	if err != nil {
		return nil, err
	}
	own := s.Room.cfg
	now := own.Now()
	if ahead := time.Unix(r.GetClockUnix(), 0).Sub(now).Round(time.Second); ahead.Abs() > maxSkew {
		return nil, status.Errorf(codes.FailedPrecondition, "the clock of %s is %s that of server %s (%s): set it, by NTP, then start again",
			r.GetName(), apart(ahead), own.Server.Name, now.UTC().Format(time.RFC3339))
	}
	mode := "embedded"
	if own.Mode == Elsewhere {
		mode = "external"
	}
	switch {
	case mode != r.GetMode():
		return nil, status.Errorf(codes.FailedPrecondition, "server %s has an %s etcd and %s an %s one: give all servers of a fabric the same --etcd-endpoints, or none",
			own.Server.Name, mode, r.GetName(), r.GetMode())
	case own.Mode == Alone:
		return nil, alone(own.Server.Name)
	}
	if err := s.free(r.GetName(), r.GetAddress()); err != nil {
		return nil, err
	}
	config, err := own.Store.Get(ctx, kind.Key(kind.ClusterConfig, "", kind.DefaultName))
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "the store does not answer; try again, or another server: %v", err)
	}
	seed, err := own.Store.Get(ctx, store.Seed)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, status.Errorf(codes.Unavailable, "the store does not answer; try again, or another server: %v", err)
	}
	return &weftv1.MembersJoinResponse{
		Fabric: s.Fabric, ServerKey: secrets.ServerKey, Authority: secrets.Authority, ClusterConfig: config.Value,
		ClockUnix: now.Unix(), Server: own.Server.Name, Version: own.Server.Version, Seed: seed.Value,
	}, nil
}

func alone(name string) error {
	return status.Errorf(codes.FailedPrecondition, "server %s stands alone: start it with --cluster-init once, then this one again", name)
}

func apart(ahead time.Duration) string {
	if ahead < 0 {
		return (-ahead).String() + " behind"
	}
	return ahead.String() + " ahead of"
}

// free refuses the name of a server that lives elsewhere.
func (s *Service) free(name, address string) error {
	for _, other := range s.Room.Servers() {
		if other.Name == name && (other.State == Ready || other.State == Learner) && other.Address != address {
			return status.Errorf(codes.AlreadyExists, "a server named %s runs at %s; give the new one another --name", name, other.Address)
		}
	}
	return nil
}

// Acquire implements weftv1.MembersServer. It is never handed on.
func (s *Service) Acquire(ctx context.Context, r *weftv1.MembersAcquireRequest) (*weftv1.MembersAcquireResponse, error) {
	if err := s.leads(); err != nil {
		return nil, err
	}
	carried, err := prefixes(r.GetCarried())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	got, err := s.Local.Acquire(ctx, r.GetNode(), carried)
	if err != nil {
		return nil, s.answer(err)
	}
	return &weftv1.MembersAcquireResponse{Prefixes: texts(got)}, nil
}

// Release implements weftv1.MembersServer. It is never handed on.
func (s *Service) Release(ctx context.Context, r *weftv1.MembersReleaseRequest) (*weftv1.MembersReleaseResponse, error) {
	if err := s.leads(); err != nil {
		return nil, err
	}
	if err := s.Local.Release(ctx, r.GetNode()); err != nil {
		return nil, s.answer(err)
	}
	return &weftv1.MembersReleaseResponse{}, nil
}

func (s *Service) leads() error {
	if _, self := s.Room.Fence(); self {
		return nil
	}
	leader, _ := s.Room.Leader()
	if leader.Name == "" {
		return status.Errorf(codes.FailedPrecondition, "server %s does not lead, and knows of no leader", s.Room.cfg.Server.Name)
	}
	return status.Errorf(codes.FailedPrecondition, "server %s does not lead; it takes %s for the leader", s.Room.cfg.Server.Name, leader.Name)
}

// answer is an error of Local for another server.
func (s *Service) answer(err error) error {
	switch {
	case errors.Is(err, lease.ErrDeposed):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, ipam.ErrFull):
		return status.Error(codes.ResourceExhausted, err.Error())
	}
	return status.Error(codes.Unknown, err.Error())
}
