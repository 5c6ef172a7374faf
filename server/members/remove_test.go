package members

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// etcdOf is the roster as one server sees it; ids are positions from 1.
type etcdOf struct {
	members []store.Member
	removed []uint64
	gone    func() // what a removal does to the one that is removed
}

func (e *etcdOf) Members(context.Context) ([]store.Member, error)    { return e.members, nil }
func (e *etcdOf) AddLearner(context.Context, string) (uint64, error) { return 0, errors.New("no") }
func (e *etcdOf) Promote(context.Context, uint64) error              { return errors.New("no") }
func (e *etcdOf) RemoveMember(_ context.Context, id uint64) error {
	e.removed = append(e.removed, id)
	e.gone()
	return nil
}

// unsteady is a store whose raft leader was just removed: its first commits fail.
type unsteady struct {
	anybody
	fails int
}

func (u *unsteady) ServerRemoval(context.Context, string) (store.Txn, error) {
	if u.fails--; u.fails >= 0 {
		return store.Txn{}, errors.New("etcdserver: leader changed")
	}
	return store.Txn{}, nil
}

// TestAServerThatIsAskedToRemoveItself has another one do it, in one go: it is out
// of the list and out of office when the answer comes.
func TestAServerThatIsAskedToRemoveItself(t *testing.T) {
	rosters := map[string]*etcdOf{}
	all := amongMembers(t, func(server string) Roster {
		rosters[server] = &etcdOf{members: rosterOf("s1* s2 s3")}
		return rosters[server]
	}, "s1", "s2", "s3")
	s1, s2 := all[0], all[1]
	for _, s := range all {
		s.service.Secrets = &unsteady{fails: 2}
		s.service.Asker = func(context.Context) Asker { return Asker{User: "ann", Role: "admin"} }
		s.await(t, "all servers", func() bool { up, _ := s.Votes(); return up == 3 })
	}
	rosters["s2"].gone = s1.stop
	r, err := s1.service.Remove(t.Context(), &weftv1.MembersRemoveRequest{Name: "s1"})
	if err != nil || r.GetRecordedBy() != "s2" {
		t.Fatal(r, err)
	}
	if len(rosters["s1"].removed)+len(rosters["s3"].removed) > 0 || !slices.Equal(rosters["s2"].removed, []uint64{1}) {
		t.Error("removed by", rosters["s1"].removed, rosters["s2"].removed, rosters["s3"].removed)
	}
	for _, key := range []string{liveKey("s1"), knownKey("s1")} {
		if e, err := s2.cfg.Store.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
			t.Error("still there:", key, string(e.Value), err)
		}
	}
	s2.await(t, "another leader", func() bool { leader, _ := s2.Leader(); return leader.Name != "s1" && leader.Name != "" })
	if _, err := s2.service.TakeOut(t.Context(), &weftv1.MembersTakeOutRequest{Name: "s2"}); status.Code(err) != codes.FailedPrecondition {
		t.Error("it is handed on in a circle:", err)
	}
}

// TestTheLastServerStays: nothing is handed on that would be refused.
func TestTheLastServerStays(t *testing.T) {
	e := &etcdOf{members: rosterOf("s1*")}
	s := amongMembers(t, func(string) Roster { return e }, "s1")[0]
	_, err := s.service.Remove(t.Context(), &weftv1.MembersRemoveRequest{Name: "s1"})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "stop it instead") || len(e.removed) > 0 {
		t.Error(err, e.removed)
	}
}

// TestRemoved: of a server nobody says that it was removed before the records are
// read.
func TestRemoved(t *testing.T) {
	unread := New(Config{Server: Server{Name: "s1"}, Store: storetest.New()})
	s := among(t, "s1", "s2")[0]
	for name, want := range map[string]bool{"s1": false, "s2": false, "s3": true} {
		if got := s.Removed(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
		if unread.Removed(name) {
			t.Errorf("%s: removed, by who has read nothing", name)
		}
	}
}
