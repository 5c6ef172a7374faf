package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/journal"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

func TestEveryMethodIsReadOrWritten(t *testing.T) {
	services := []grpc.ServiceDesc{
		weftv1.Resources_ServiceDesc, weftv1.Status_ServiceDesc, weftv1.Nodes_ServiceDesc, weftv1.Leases_ServiceDesc, weftv1.Mesh_ServiceDesc,
		weftv1.Tokens_ServiceDesc, weftv1.Events_ServiceDesc, weftv1.Audit_ServiceDesc, weftv1.Join_ServiceDesc, weftv1.NodeSync_ServiceDesc,
		weftv1.Diagnose_ServiceDesc,
	}
	var got []string
	for _, s := range services {
		for _, m := range s.Methods {
			if writes("/" + s.ServiceName + "/" + m.MethodName) {
				got = append(got, strings.TrimPrefix(s.ServiceName, "weft.v1.")+"/"+m.MethodName)
			}
		}
		for _, m := range s.Streams {
			if writes("/" + s.ServiceName + "/" + m.StreamName) {
				t.Errorf("%s/%s is a stream that writes", s.ServiceName, m.StreamName)
			}
		}
	}
	want := []string{
		"Resources/Apply", "Resources/Replace", "Resources/Delete", "Resources/Rollback", "Resources/Confirm",
		"Nodes/Pause", "Nodes/Resume", "Leases/Reserve", "Tokens/Create", "Tokens/Revoke", "Diagnose/SetLogLevel",
	}
	var missing []string
	for _, w := range want {
		found := false
		for _, g := range got {
			found = found || g == w
		}
		if !found {
			missing = append(missing, w)
		}
	}
	if len(missing) > 0 {
		t.Errorf("not written down: %v", missing)
	}
}

func TestObjects(t *testing.T) {
	resource := func(k, n string) *weftv1.Resource {
		return &weftv1.Resource{Kind: k, Metadata: &weftv1.Metadata{Name: n}}
	}
	for _, c := range []struct {
		method string
		m      proto.Message
		want   string
	}{
		{"/weft.v1.Resources/Apply", &weftv1.ApplyRequest{Items: []*weftv1.Resource{resource("Node", "n1"), resource("cc", "default")}}, "Node/n1 ClusterConfig/default"},
		{"/weft.v1.Resources/Delete", &weftv1.DeleteRequest{Items: []*weftv1.GetRequest{{Kind: "no", Name: "n1"}}}, "Node/n1"},
		{"/weft.v1.Resources/Rollback", &weftv1.RollbackRequest{Kind: "cc", Name: "default", ToRevision: 4}, "ClusterConfig/default"},
		{"/weft.v1.Nodes/Pause", &weftv1.NodesPauseRequest{Node: "n1", Reason: "secret"}, "Node/n1"},
		{"/weft.v1.Leases/Reserve", &weftv1.ReserveRequest{Node: "n1", Prefixes: []string{"10.0.0.0/24"}}, "Node/n1"},
		{"/weft.v1.Tokens/Create", &weftv1.TokensCreateRequest{Nodes: []string{"a", "b"}, Description: "secret"}, "Node/a Node/b"},
		{"/weft.v1.Tokens/Revoke", &weftv1.TokensRevokeRequest{Id: "abc"}, "Token/abc"},
	} {
		if got := strings.Join(objects(c.method, c.m), " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.method, got, c.want)
		}
	}
	answer := &weftv1.TokensCreateResponse{Token: "weft1.secret", Status: &weftv1.TokenStatus{Id: "abc"}}
	if got := strings.Join(made("/weft.v1.Tokens/Create", answer), " "); got != "Token/abc" {
		t.Errorf("made: %q", got)
	}
}

// book keeps what it is told.
type book struct {
	stored, denied []journal.Act
	err, blocked   error
}

func (b *book) Record(_ context.Context, a journal.Act) error {
	b.stored = append(b.stored, a)
	return b.err
}
func (b *book) Deny(a journal.Act) { b.denied = append(b.denied, a) }
func (b *book) Blocked() error     { return b.blocked }

func call(b *book, method string, request proto.Message, answer any, err error) error {
	t := New(Config{
		Book: b, Caller: func(context.Context) Caller { return Caller{User: "ops", Role: "admin", Serial: "1f"} }, Revision: func() int64 { return 7 },
	})
	_, err = t.Unary(context.Background(), request, &grpc.UnaryServerInfo{FullMethod: method}, func(context.Context, any) (any, error) { return answer, err })
	return err
}

func TestOutcomes(t *testing.T) {
	apply := &weftv1.ApplyRequest{Items: []*weftv1.Resource{{Kind: "Node", Metadata: &weftv1.Metadata{Name: "n1"}}}}
	const method = "/weft.v1.Resources/Apply"
	b := &book{}
	if err := call(b, method, apply, &weftv1.ApplyResponse{Revision: 9}, nil); err != nil {
		t.Fatal(err)
	}
	if err := call(b, method, apply, nil, status.Error(codes.PermissionDenied, "the rule: role operator")); status.Code(err) != codes.PermissionDenied {
		t.Fatal(err)
	}
	_ = call(b, method, apply, nil, status.Error(codes.Aborted, "written: Node/n1; the rest is not"))
	_ = call(b, method, &weftv1.ApplyRequest{DryRun: true}, &weftv1.ApplyResponse{}, nil)
	_ = call(b, "/weft.v1.Resources/List", &weftv1.ListRequest{}, &weftv1.ListResponse{}, nil)
	short := func(acts []journal.Act) (out []string) {
		for _, a := range acts {
			out = append(out, strings.Join([]string{a.User, a.Role, a.Serial, a.Verb, strings.Join(a.Objects, ","), a.Outcome, a.Message}, " "))
		}
		return out
	}
	if d := cmp.Diff([]string{"ops admin 1f apply Node/n1 OK ", "ops admin 1f apply Node/n1 Aborted written: Node/n1; the rest is not"}, short(b.stored)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"ops admin 1f apply Node/n1 PermissionDenied the rule: role operator"}, short(b.denied)); d != "" {
		t.Error(d)
	}
	if a := b.stored[0]; a.Before != 7 || a.After != 9 {
		t.Errorf("revisions %d to %d", a.Before, a.After)
	}
}

// TestWhatIsMadeIsNamedOnce: also when request and answer both name it.
func TestWhatIsMadeIsNamedOnce(t *testing.T) {
	b := &book{}
	err := call(b, "/weft.v1.Users/Create", &weftv1.UsersCreateRequest{Name: "eve"}, &weftv1.UsersCreateResponse{Status: &weftv1.UserStatus{Name: "eve"}}, nil)
	if err != nil || len(b.stored) != 1 {
		t.Fatal(b.stored, err)
	}
	if got := strings.Join(b.stored[0].Objects, ","); got != "User/eve" {
		t.Error(got)
	}
}

// TestARemovalThatIsHandedOn is written down once, by the server that did it, in the
// name of who asked; a refusal by the one that was asked.
func TestARemovalThatIsHandedOn(t *testing.T) {
	r := &weftv1.MembersTakeOutRequest{Name: "s1", User: "ann", Role: "admin", Serial: "2a", From: "192.0.2.7:5555"}
	for _, c := range []struct {
		name, method   string
		request        proto.Message
		answer         proto.Message
		err            error
		stored, denied string
	}{
		{"asked", weftv1.Members_Remove_FullMethodName, &weftv1.MembersRemoveRequest{Name: "s1"}, &weftv1.MembersRemoveResponse{RecordedBy: "s2"}, nil, "", ""},
		{"asked, and refused", weftv1.Members_Remove_FullMethodName, &weftv1.MembersRemoveRequest{Name: "s1"}, nil, status.Error(codes.FailedPrecondition, "no"), "", "ops weft.v1.Members/Remove remove Server/s1 FailedPrecondition"},
		{"did it", weftv1.Members_TakeOut_FullMethodName, r, &weftv1.MembersTakeOutResponse{}, nil, "ann weft.v1.Members/Remove remove Server/s1 OK 192.0.2.7:5555", ""},
		{"refused it", weftv1.Members_TakeOut_FullMethodName, r, nil, status.Error(codes.FailedPrecondition, "no"), "", ""},
		{"did half of it", weftv1.Members_TakeOut_FullMethodName, r, nil, status.Error(codes.Unavailable, "half"), "ann weft.v1.Members/Remove remove Server/s1 Unavailable 192.0.2.7:5555", ""},
	} {
		b := &book{}
		_ = call(b, c.method, c.request, c.answer, c.err)
		short := func(acts []journal.Act) string {
			var lines []string
			for _, a := range acts {
				lines = append(lines, strings.TrimSpace(strings.Join([]string{a.User, a.Method, a.Verb, strings.Join(a.Objects, ","), a.Outcome, a.From}, " ")))
			}
			return strings.Join(lines, "; ")
		}
		if short(b.stored) != c.stored || short(b.denied) != c.denied {
			t.Errorf("%s: stored %q, denied %q", c.name, short(b.stored), short(b.denied))
		}
	}
}

// streamed is a stream that keeps its trailer.
type streamed struct {
	grpc.ServerStream
	trailer metadata.MD
}

func (s *streamed) Context() context.Context  { return context.Background() }
func (s *streamed) SetTrailer(md metadata.MD) { s.trailer = md }

// TestALateRecordOfAStream: who sent a write in parts hears that its record is not
// stored; who only read, nothing.
func TestALateRecordOfAStream(t *testing.T) {
	for method, want := range map[string]int{"/weft.v1.Backups/Restore": 1, "/weft.v1.Backups/Verify": 0} {
		trail := New(Config{Book: &book{err: errors.New("no leader")}, Caller: func(context.Context) Caller { return Caller{} }, Revision: func() int64 { return 7 }})
		s := &streamed{}
		if err := trail.Stream(nil, s, &grpc.StreamServerInfo{FullMethod: method}, func(any, grpc.ServerStream) error { return nil }); err != nil {
			t.Error(err)
		}
		if got := len(s.trailer.Get(Header)); got != want {
			t.Errorf("%s: %d, want %d", method, got, want)
		}
	}
}

// conversation is a stream of one request, and of the answer that a handler gives.
type conversation struct {
	streamed
	request proto.Message
	ctx     context.Context
}

func (c *conversation) Context() context.Context { return c.ctx }
func (c *conversation) SendMsg(any) error        { return nil }
func (c *conversation) RecvMsg(m any) error {
	proto.Merge(m.(proto.Message), c.request)
	return nil
}

func TestStreamsNameWhatTheyAreAbout(t *testing.T) {
	named := func(name string, dry bool) *weftv1.BackupsRestoreRequest {
		return &weftv1.BackupsRestoreRequest{DryRun: dry, File: &weftv1.BackupFile{File: &weftv1.BackupFile_Name{Name: name}}}
	}
	part := &weftv1.BackupsRestoreRequest{File: &weftv1.BackupFile{File: &weftv1.BackupFile_Part{Part: []byte("secret")}}}
	done := func(name string) *weftv1.BackupsRestoreResponse {
		return &weftv1.BackupsRestoreResponse{Backup: &weftv1.Backup{Name: name, Server: "s2"}, Epoch: 5, Server: "s1"}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx     context.Context
		request proto.Message
		answer  *weftv1.BackupsRestoreResponse
		err     error
		want    string
	}{
		{t.Context(), named("auto-1", false), done("auto-1"), nil, "[Backup/auto-1 Epoch/5] OK "},
		{t.Context(), named("latest", false), done("auto-1"), nil, "[Backup/latest Backup/auto-1 Epoch/5] OK "},
		{t.Context(), part, done("given-1"), nil, "[Backup/given-1 Epoch/5] OK "},
		{t.Context(), named("auto-1", true), done("auto-1"), nil, ""},
		{t.Context(), named("auto-1", true), nil, context.Canceled, ""},
		{t.Context(), named("auto-1", false), nil, status.Error(codes.FailedPrecondition, "another is under way"), "[Backup/auto-1] FailedPrecondition another is under way"},
		{gone, named("auto-1", false), nil, context.Canceled, "[Backup/auto-1] Canceled the caller went away before it was answered"},
		{t.Context(), named("auto-1", false), nil, context.DeadlineExceeded, "[Backup/auto-1] DeadlineExceeded context deadline exceeded"},
	} {
		b := &book{}
		trail := New(Config{Book: b, Caller: func(context.Context) Caller { return Caller{} }, Revision: func() int64 { return 7 }})
		_ = trail.Stream(nil, &conversation{request: c.request, ctx: c.ctx}, &grpc.StreamServerInfo{FullMethod: "/weft.v1.Backups/Restore"}, func(_ any, s grpc.ServerStream) error {
			if err := s.RecvMsg(&weftv1.BackupsRestoreRequest{}); err != nil {
				return err
			}
			if c.answer != nil {
				return s.SendMsg(c.answer)
			}
			return c.err
		})
		var got []string
		for _, a := range append(b.stored, b.denied...) {
			got = append(got, fmt.Sprint(a.Objects, " ", a.Outcome, " ", a.Message))
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
}

func TestABlockedAuditRefusesWrites(t *testing.T) {
	b := &book{blocked: errors.New("256 writes are not in the audit yet")}
	if err := call(b, "/weft.v1.Tokens/Create", &weftv1.TokensCreateRequest{}, &weftv1.TokensCreateResponse{}, nil); status.Code(err) != codes.Unavailable {
		t.Errorf("a write went through: %v", err)
	}
	if err := call(b, "/weft.v1.Tokens/List", &weftv1.TokensListRequest{}, &weftv1.TokensListResponse{}, nil); err != nil {
		t.Errorf("a read was refused: %v", err)
	}
}
