package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

// mtu is a ClusterConfig with one field given.
func mtu(n int) []*weftv1.Resource {
	return []*weftv1.Resource{{
		ApiVersion: kind.APIVersion, Kind: kind.ClusterConfig, Metadata: &weftv1.Metadata{Name: kind.DefaultName},
		Spec: &structpb.Struct{Fields: map[string]*structpb.Value{"mtu": structpb.NewNumberValue(float64(n))}},
	}}
}

// mtuNow is what it is.
func (f *fabricOf) mtuNow() int {
	f.t.Helper()
	got, err := f.Get(f.t.Context(), &weftv1.GetRequest{Kind: "cc", Name: "default"})
	if err != nil {
		f.t.Fatal(err)
	}
	return int(got.GetItem().GetSpec().GetFields()["mtu"].GetNumberValue())
}

func (f *fabricOf) setMTU(n int) int64 {
	f.t.Helper()
	answer, err := f.Apply(f.t.Context(), &weftv1.ApplyRequest{Items: mtu(n)})
	if err != nil {
		f.t.Fatal(err)
	}
	return answer.GetRevision()
}

func TestTheLastTenVersionsAreKept(t *testing.T) {
	f := newFabric(t)
	var revisions []int64
	for i := range 25 {
		revisions = append(revisions, f.setMTU(1300+i))
	}
	entries, _, err := f.store.List(t.Context(), versions)
	if err != nil || len(entries) != keptVersions {
		t.Fatalf("%d former versions are stored (%v)", len(entries), err)
	}
	h, err := f.History(t.Context(), &weftv1.HistoryRequest{Kind: "cc", Name: "default"})
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range h.GetVersions() {
		if want := revisions[len(revisions)-1-i]; v.GetRevision() != want {
			t.Errorf("version %d is of revision %d, want %d", i, v.GetRevision(), want)
		}
	}
	if n := len(h.GetVersions()); n != keptVersions+1 {
		t.Errorf("%d versions are listed", n)
	}
	for _, c := range []struct {
		revision int64
		want     int // MTU; 0: refused
	}{
		{revisions[24], 1324}, {revisions[20], 1320}, {revisions[15], 1315}, {revisions[3], 0},
	} {
		_, err := f.Rollback(t.Context(), &weftv1.RollbackRequest{Kind: "cc", Name: "default", ToRevision: c.revision})
		if c.want == 0 {
			if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "is not kept; kept are") {
				t.Errorf("to %d: %v", c.revision, err)
			}
			continue
		}
		if err != nil || f.mtuNow() != c.want {
			t.Errorf("to %d: MTU %d, want %d (%v)", c.revision, f.mtuNow(), c.want, err)
		}
	}
}

// What an object was before a backup was restored is kept, and no revision names it.
func TestRollbackAcrossARestore(t *testing.T) {
	f := newFabric(t)
	first := f.setMTU(1300)
	f.setMTU(1301)
	f.setMTU(1302)
	entries, _, err := f.store.List(t.Context(), versions)
	if err != nil || len(entries) < 2 {
		t.Fatal(len(entries), err)
	}
	for _, e := range entries {
		value := strings.Replace(string(e.Value), `"epoch":"`+f.hub.Epoch()+`"`, `"epoch":"over"`, 1)
		if _, err := f.store.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: e.Key, Value: []byte(value)}}}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = f.Rollback(t.Context(), &weftv1.RollbackRequest{Kind: "cc", Name: "default", ToRevision: first})
	want := fmt.Sprintf("; %d more are of before a backup was restored, and their revisions count no more: weft history ClusterConfig/default -o yaml has them, apply the one that you want with weft apply -f FILE", len(entries))
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "is not kept; kept are ") || !strings.Contains(err.Error(), want) {
		t.Errorf("%v\nwant %s", err, want)
	}
}

func TestBadRollbacks(t *testing.T) {
	f := newFabric(t)
	f.join("n1")
	for _, c := range []struct {
		kind, name string
		revision   int64
		want       codes.Code
	}{
		{"cc", "default", 0, codes.InvalidArgument},
		{"cc", "default", -1, codes.InvalidArgument},
		{"cc", "default", 1 << 40, codes.InvalidArgument},
		{"cc", "", 1, codes.InvalidArgument},
		{"cc", "a/b", 1, codes.InvalidArgument},
		{"pod", "x", 1, codes.InvalidArgument},
		{"endpoint", "x", 1, codes.InvalidArgument},
		{"node", "n9", 1, codes.FailedPrecondition},
	} {
		_, err := f.Rollback(t.Context(), &weftv1.RollbackRequest{Kind: c.kind, Name: c.name, ToRevision: c.revision})
		if status.Code(err) != c.want {
			t.Errorf("%s/%s to %d: %v, want %v", c.kind, c.name, c.revision, err, c.want)
		}
	}
}

// later is another server over the same store, or the same after a crash, at a
// later time, that rolls back what is due until the test ends.
func (f *fabricOf) later(d time.Duration) {
	s := New(Config{Store: f.store, Hub: f.hub, Leases: f.leases, Now: func() time.Time { return now.Add(d) }})
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Expire(ctx) }()
	f.t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			f.t.Errorf("expire: %v", err)
		}
	})
}

// untilKey waits for a state of the record.
func (f *fabricOf) untilKey(what string, ok func(p pending) bool) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	s := New(Config{Store: f.store, Hub: f.hub, Leases: f.leases})
	seen := func() bool {
		p, err := s.waiting(ctx)
		if err != nil {
			f.t.Fatal(err)
		}
		return ok(p)
	}
	if seen() {
		return
	}
	enough := errors.New("enough")
	_, rev, _ := f.store.List(ctx, confirmKey)
	if seen() {
		return
	}
	err := f.store.Watch(ctx, confirmKey, rev, func(store.Batch) error {
		if seen() {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		f.t.Fatalf("waited for %s: %v", what, err)
	}
}

func TestAnApplyThatIsNotConfirmedIsRolledBack(t *testing.T) {
	f := newFabric(t)
	f.setMTU(1300)
	answer, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: mtu(1400), ConfirmWithinSeconds: 60})
	if err != nil || answer.GetConfirmation().GetId() == "" || f.mtuNow() != 1400 {
		t.Fatalf("%v, %v, MTU %d", answer, err, f.mtuNow())
	}
	f.later(59 * time.Second) // sees it, and waits for its time
	if f.mtuNow() != 1400 {
		t.Error("rolled back too early")
	}
	f.later(61 * time.Second)
	f.untilKey("the roll-back", func(p pending) bool { return p.ID == "" })
	if f.mtuNow() != 1300 {
		t.Errorf("MTU %d", f.mtuNow())
	}
	h, err := f.History(t.Context(), &weftv1.HistoryRequest{Kind: "cc", Name: kind.DefaultName})
	if err != nil || h.GetVersions()[0].GetBy() != "rollback of somebody" {
		t.Errorf("who took it back: %v, %v", h.GetVersions()[0].GetBy(), err)
	}
	if _, err := f.Confirm(t.Context(), &weftv1.ConfirmRequest{}); status.Code(err) != codes.NotFound {
		t.Errorf("confirmed afterwards: %v", err)
	}
}

func TestWhatWasMadeGoesAgain(t *testing.T) {
	f := newFabric(t)
	lease := &weftv1.Resource{ApiVersion: kind.APIVersion, Kind: kind.Lease, Metadata: &weftv1.Metadata{Name: "n9"}, Spec: &structpb.Struct{Fields: map[string]*structpb.Value{
		"prefixes": structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewStringValue("10.42.9.0/24")}}),
	}}}
	if _, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: []*weftv1.Resource{lease}, ConfirmWithinSeconds: 1}); err != nil {
		t.Fatal(err)
	}
	f.later(time.Minute)
	f.untilKey("the roll-back", func(p pending) bool { return p.ID == "" })
	if _, err := f.Get(t.Context(), &weftv1.GetRequest{Kind: "lease", Name: "n9"}); status.Code(err) != codes.NotFound {
		t.Errorf("the lease is there: %v", err)
	}
}

func TestWhatWaitsIsHeld(t *testing.T) {
	f := newFabric(t)
	f.join("n1")
	answer, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: mtu(1400), ConfirmWithinSeconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	id := answer.GetConfirmation().GetId()
	for _, c := range []struct {
		what string
		call func() error
		want codes.Code
	}{
		{"the same object", func() error { _, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: mtu(1350)}); return err }, codes.FailedPrecondition},
		{"a second one", func() error {
			_, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: mtu(1350), ConfirmWithinSeconds: 5})
			return err
		}, codes.FailedPrecondition},
		{"a second one that is equal", func() error {
			_, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: mtu(1400), ConfirmWithinSeconds: 300})
			if !strings.Contains(fmt.Sprint(err), "weft confirm "+id) {
				t.Errorf("the first one's id is not told: %v", err)
			}
			return err
		}, codes.FailedPrecondition},
		{"an equal one that stays as it is", func() error { _, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: mtu(1400)}); return err }, codes.OK},
		{"too long", func() error {
			_, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: mtu(1350), ConfirmWithinSeconds: 1 << 20})
			return err
		}, codes.InvalidArgument},
		{"another object", func() error {
			_, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: []*weftv1.Resource{{Kind: "Node", Metadata: &weftv1.Metadata{Name: "n1", Labels: map[string]string{"a": "b"}}}}})
			return err
		}, codes.OK},
		{"a wrong id", func() error { _, err := f.Confirm(t.Context(), &weftv1.ConfirmRequest{Id: "nope"}); return err }, codes.NotFound},
		{"its confirmation", func() error { _, err := f.Confirm(t.Context(), &weftv1.ConfirmRequest{Id: id}); return err }, codes.OK},
		{"the same object again", func() error { _, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: mtu(1350)}); return err }, codes.OK},
	} {
		if err := c.call(); status.Code(err) != c.want {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
}

// A lease was given from the range that the apply added: it cannot go any more.
func TestARollbackThatIsRefusedIsAProblem(t *testing.T) {
	f := newFabric(t)
	cidrs := func(texts ...string) *structpb.Value {
		var list []*structpb.Value
		for _, t := range texts {
			list = append(list, structpb.NewStringValue(t))
		}
		return structpb.NewListValue(&structpb.ListValue{Values: list})
	}
	items := mtu(1400)
	items[0].Spec.Fields["clusterCIDRs"] = cidrs("10.42.0.0/16", "fd42:42::/48", "10.50.0.0/16")
	answer, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: items, ConfirmWithinSeconds: 30})
	if err != nil {
		t.Fatal(err)
	}
	lease := &weftv1.Resource{Kind: kind.Lease, Metadata: &weftv1.Metadata{Name: "n9"}, Spec: &structpb.Struct{Fields: map[string]*structpb.Value{"prefixes": cidrs("10.50.9.0/24")}}}
	if _, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: []*weftv1.Resource{lease}}); err != nil {
		t.Fatal(err)
	}
	f.later(time.Minute)
	f.untilKey("the refusal", func(p pending) bool { return p.Stuck != "" })
	problems, err := weftv1.NewStatusClient(f.conn).ListProblems(t.Context(), &weftv1.ListProblemsRequest{})
	if err != nil || !strings.Contains(fmt.Sprint(problems.GetProblems()), "cannot be rolled back") {
		t.Errorf("problems %v (%v)", problems.GetProblems(), err)
	}
	if _, err := f.Confirm(t.Context(), &weftv1.ConfirmRequest{Id: answer.GetConfirmation().GetId()}); err != nil {
		t.Error(err)
	}
}

// TestForget: former values of what was deleted go with the audit that tells of it;
// those of what is there again, or was deleted lately, stay.
func TestForget(t *testing.T) {
	f := newFabric(t)
	f.setMTU(1300)
	f.setMTU(1301)
	reserve := func(name, prefix string) { // and edit it
		t.Helper()
		for _, rack := range []string{"a", "b"} {
			_, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: []*weftv1.Resource{{
				ApiVersion: kind.APIVersion, Kind: kind.Lease, Metadata: &weftv1.Metadata{Name: name, Labels: map[string]string{"rack": rack}},
				Spec: &structpb.Struct{Fields: map[string]*structpb.Value{
					"prefixes": structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewStringValue(prefix)}}),
				}},
			}}})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	gone := func(name string) {
		t.Helper()
		if _, err := f.Delete(t.Context(), &weftv1.DeleteRequest{Items: []*weftv1.GetRequest{{Kind: "lease", Name: name}}}); err != nil {
			t.Fatal(err)
		}
	}
	reserve("old", "10.42.100.0/24")
	reserve("again", "10.42.101.0/24")
	gone("old")
	gone("again")
	reserve("again", "10.42.102.0/24")
	kept := func(after time.Duration, want string) {
		t.Helper()
		s := New(Config{Store: f.store, Hub: f.hub, Leases: f.leases, Now: func() time.Time { return now.Add(after) }})
		if err := s.forget(t.Context()); err != nil {
			t.Fatal(err)
		}
		entries, _, err := f.store.List(t.Context(), versions)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, e := range entries {
			seen[objectOf(e.Key)] = true
		}
		if got := strings.Join(slices.Sorted(maps.Keys(seen)), " "); got != want {
			t.Errorf("after %v are kept %q, want %q", after, got, want)
		}
	}
	kept(keepDeleted-time.Hour, "ClusterConfig//default Lease//again Lease//old")
	kept(keepDeleted+time.Hour, "ClusterConfig//default Lease//again")
	kept(10*keepDeleted, "ClusterConfig//default Lease//again")
}
