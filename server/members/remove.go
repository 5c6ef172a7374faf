package members

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// forgetWithin bounds what is left to do once a member is out. If it was the raft
// leader, the others elect one first.
const forgetWithin = 15 * time.Second

// Asker is who asked for something, as the audit names him.
type Asker struct{ User, Role, Serial, From string }

// Remove implements weftv1.MembersServer. A server that is asked to remove itself
// has another one do it: without its etcd it can write nothing more.
func (s *Service) Remove(ctx context.Context, r *weftv1.MembersRemoveRequest) (*weftv1.MembersRemoveResponse, error) {
	own := s.Room.cfg
	if own.Roster != nil && r.GetName() == own.Server.Name {
		return s.leave(ctx)
	}
	return &weftv1.MembersRemoveResponse{}, s.remove(ctx, r.GetName())
}

// TakeOut implements weftv1.MembersServer.
func (s *Service) TakeOut(ctx context.Context, r *weftv1.MembersTakeOutRequest) (*weftv1.MembersTakeOutResponse, error) {
	own := s.Room.cfg
	if own.Roster == nil || r.GetName() == own.Server.Name {
		return nil, status.Errorf(codes.FailedPrecondition, "server %s takes out other members of its etcd, not %q", own.Server.Name, r.GetName())
	}
	own.Log.Info("server leaves", note.Server, r.GetName(), note.User, r.GetRole()+" "+r.GetUser())
	return &weftv1.MembersTakeOutResponse{}, s.remove(ctx, r.GetName())
}

// leave has another server take this one out. What would be refused over there is
// refused here; nothing is removed before the other one does it.
func (s *Service) leave(ctx context.Context) (*weftv1.MembersRemoveResponse, error) {
	own := s.Room.cfg
	members, err := own.Roster.Members(ctx)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	all := s.Room.Servers()
	if err := removable(own.Server.Name, all, members); err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	other, ok := successor(own.Server.Name, all)
	if !ok {
		return nil, status.Errorf(codes.FailedPrecondition, "no other server answers that could take %s out: see weft server list; nothing was changed", own.Server.Name)
	}
	// A line of its own: the room closes its lines when this server ends, which it
	// may before the answer is here.
	conn, err := Dial(other.Address, own.DialTLS)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	defer conn.Close()
	asker := s.asker(ctx)
	_, err = weftv1.NewMembersClient(conn).TakeOut(ctx, &weftv1.MembersTakeOutRequest{
		Name: own.Server.Name, User: asker.User, Role: asker.Role, Serial: asker.Serial, From: asker.From,
	})
	if err != nil {
		return nil, notTaken(own.Server.Name, other.Server, err)
	}
	return &weftv1.MembersRemoveResponse{RecordedBy: other.Name}, nil
}

// successor is the server that takes another one out: the leader, or else the
// first that has a vote.
func successor(name string, all []Status) (Status, bool) {
	fits := func(s Status) bool { return s.Name != name && s.State == Ready }
	if i := slices.IndexFunc(all, func(s Status) bool { return fits(s) && s.Leader }); i >= 0 {
		return all[i], true
	}
	i := slices.IndexFunc(all, fits)
	if i < 0 {
		return Status{}, false
	}
	return all[i], true
}

// notTaken is what another server answered instead of taking this one out.
func notTaken(name string, other Server, err error) error {
	got := status.Convert(err)
	itself := fmt.Sprintf("weft --server https://%s server remove %s", other.Address, name)
	switch got.Code() {
	case codes.Unimplemented, codes.PermissionDenied:
		return status.Errorf(codes.FailedPrecondition, "server %s is of release %s and takes out nobody who asks for himself: ask it: %s; nothing was changed", other.Name, other.Version, itself)
	case codes.Unavailable, codes.DeadlineExceeded:
		return status.Errorf(codes.Unavailable, "server %s at %s was to take %s out: %s; repeat there: %s", other.Name, other.Address, name, bare(got.Message()), itself)
	}
	return status.Errorf(got.Code(), "%s (said server %s)", got.Message(), other.Name)
}

func (s *Service) asker(ctx context.Context) Asker {
	if s.Asker == nil {
		return Asker{}
	}
	return s.Asker(ctx)
}

// remove takes out another server.
func (s *Service) remove(ctx context.Context, name string) error {
	own := s.Room.cfg
	if !s.Room.roster.TryLock() {
		return errBusy
	}
	defer s.Room.roster.Unlock()
	var members []store.Member
	var err error
	if own.Roster != nil {
		if members, err = own.Roster.Members(ctx); err != nil {
			return status.Error(codes.Unavailable, err.Error())
		}
	}
	if err := removable(name, s.Room.Servers(), members); err != nil {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	// First the member, so that what is left behind by a crash is still listed.
	for _, m := range members {
		if m.Name != name {
			continue
		}
		if err := own.Roster.RemoveMember(ctx, m.ID); errors.Is(err, store.ErrQuorum) {
			return status.Errorf(codes.FailedPrecondition, "without %s etcd would have no quorum, %v: start the servers that are down, and wait until they answer (weft server list)", name, store.ErrQuorum)
		} else if err != nil {
			return status.Errorf(codes.Unavailable, "%v; do most servers answer (weft server list)? If not: %s", err, resetInstead(name))
		}
	}
	if err := s.forget(ctx, name); err != nil {
		return status.Errorf(codes.Unavailable, "%s is no member any more, but still listed: %v; repeat", name, err)
	}
	own.Log.Info("server removed", note.Server, name)
	own.Note(Event{Server: name, Reason: "ServerRemoved", Message: "server " + name + " was removed"})
	return nil
}

// forget takes a server from the list and from its office, and ends its
// certificates with that. The member is out by now: that the caller went does not
// end it, nor that the others have to elect a raft leader first.
func (s *Service) forget(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forgetWithin)
	defer cancel()
	const conflicts = 5
	for try := 1; ; {
		err := s.strike(ctx, name)
		if err == nil || errors.Is(err, store.ErrRefused) {
			return err
		}
		if errors.Is(err, store.ErrConflict) {
			if try++; try > conflicts {
				return err
			}
			continue
		}
		if !pause(ctx, again) {
			return err
		}
	}
}

func (s *Service) strike(ctx context.Context, name string) error {
	txn, err := s.Secrets.ServerRemoval(ctx, name)
	if err != nil {
		return err
	}
	txn.Then = append(txn.Then, store.Write{Key: liveKey(name)}, store.Write{Key: knownKey(name)})
	candidates, _ := s.Room.candidates.Snapshot()
	for _, c := range candidates {
		if string(c.Value) == name { // it cannot resign any more
			txn.Then = append(txn.Then, store.Write{Key: c.Key})
		}
	}
	_, err = s.Room.cfg.Store.Commit(ctx, txn)
	return err
}
