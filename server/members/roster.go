package members

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Roster is the embedded etcd's list of members.
type Roster interface {
	Members(ctx context.Context) ([]store.Member, error)
	AddLearner(ctx context.Context, peerURL string) (id uint64, err error)
	Promote(ctx context.Context, id uint64) error
	RemoveMember(ctx context.Context, id uint64) error
}

var errBusy = status.Error(codes.Aborted, "the fabric's servers are being changed; try again in a moment")

// roster guards changes of the list: one at a time by this server. etcd itself
// takes one learner at a time.
type roster struct{ sync.Mutex }

// Add implements weftv1.MembersServer.
func (s *Service) Add(ctx context.Context, r *weftv1.MembersAddRequest) (*weftv1.MembersAddResponse, error) {
	own := s.Room.cfg
	if own.Roster == nil {
		return nil, alone(own.Server.Name)
	}
	if err := intent.ValidName(r.GetName()); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "the server's name %v (--name)", err)
	}
	if !s.Room.roster.TryLock() {
		return nil, errBusy
	}
	defer s.Room.roster.Unlock()
	members, err := own.Roster.Members(ctx)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	if err := s.place(ctx, r, members); err != nil {
		return nil, err
	}
	if members, err = own.Roster.Members(ctx); err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	out := &weftv1.MembersAddResponse{}
	for _, m := range members {
		name := m.Name
		if name == "" && hasURL(m, r.GetPeerUrl()) {
			name = r.GetName()
		}
		out.Members = append(out.Members, &weftv1.EtcdMember{Name: name, PeerUrls: m.PeerURLs})
	}
	return out, nil
}

// place makes room for one member. What an earlier try left behind, which never
// ran, makes way.
func (s *Service) place(ctx context.Context, r *weftv1.MembersAddRequest, members []store.Member) error {
	own := s.Room.cfg
	for _, m := range members {
		switch same := hasURL(m, r.GetPeerUrl()); {
		case m.Name == r.GetName() && !m.Learner, same && m.Name != "" && !m.Learner:
			return status.Errorf(codes.AlreadyExists, "%s is a member already, as %s at %s: if its data folder is gone, run `weft server remove %s` and start it again",
				r.GetName(), m.Name, strings.Join(m.PeerURLs, ","), m.Name)
		case m.Learner && (same || m.Name == r.GetName()):
			if err := own.Roster.RemoveMember(ctx, m.ID); err != nil {
				return status.Error(codes.Unavailable, err.Error())
			}
		case m.Learner || m.Name == "":
			return status.Errorf(codes.Aborted, "another server is joining (%s); try again in a moment", strings.Join(m.PeerURLs, ","))
		}
	}
	if _, err := own.Roster.AddLearner(ctx, r.GetPeerUrl()); err != nil {
		return status.Errorf(codes.Unavailable, "%v; a member is added only while all others answer", err)
	}
	// Without this word it would count as lost until it is ready.
	joining := trace{Schema: schema.Registration.Version(), Name: r.GetName(), Peer: r.GetPeerUrl(), JoiningUnix: own.Now().Unix()}
	if err := s.Room.leaveTrace(ctx, joining); err != nil {
		own.Log.Warn("server not recorded", note.Server, r.GetName(), note.Err, err)
	}
	own.Log.Info("server added", note.Server, r.GetName(), note.Addr, r.GetPeerUrl())
	own.Note(Event{Server: r.GetName(), Reason: "ServerAdded", Message: "server " + r.GetName() + " joins at " + r.GetPeerUrl()})
	return nil
}

func hasURL(m store.Member, url string) bool {
	for _, u := range m.PeerURLs {
		if u == url {
			return true
		}
	}
	return false
}

// promoteEvery is how often the leader tries to give a learner its vote.
const promoteEvery = 500 * time.Millisecond

// promote gives learners their vote when they have caught up and are there: a vote
// of one that was killed as it joined would make each of the others needed.
func (r *Room) promote(ctx context.Context) error {
	if r.cfg.Roster == nil {
		return nil
	}
	for pause(ctx, promoteEvery) {
		members, err := r.cfg.Roster.Members(ctx)
		if err != nil {
			return err
		}
		for _, m := range members {
			if !m.Learner || m.Name == "" || !r.listens(ctx, m) {
				continue
			}
			if err := r.cfg.Roster.Promote(ctx, m.ID); err != nil {
				r.cfg.Log.Debug("learner not promoted yet", note.Server, m.Name, note.Err, err)
				continue
			}
			r.cfg.Log.Info("server has a vote", note.Server, m.Name)
			r.moved()
		}
	}
	return nil
}

// listens tells whether the etcd of a member is reached where it says it is.
func (r *Room) listens(ctx context.Context, m store.Member) bool {
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	return slices.ContainsFunc(m.PeerURLs, func(url string) bool {
		return Answers(ctx, strings.TrimPrefix(url, "https://"), r.cfg.DialTLS)
	})
}
