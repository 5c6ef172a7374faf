package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// peers are servers that answer over gRPC; one without a connection does not.
type peers struct {
	names []string
	conns map[string]*grpc.ClientConn
}

func (p peers) Others() []string         { return p.names }
func (p peers) Removed(name string) bool { return !slices.Contains(p.names, name) }

func (p peers) Call(ctx context.Context, server string, there func(context.Context, grpc.ClientConnInterface) error) error {
	if c := p.conns[server]; c != nil {
		return there(ctx, c)
	}
	return status.Errorf(codes.Unavailable, "server %s does not answer", server)
}

// dialed serves a room, and answers with a connection to it.
func dialed(t *testing.T, r *Room) *grpc.ClientConn {
	t.Helper()
	server := grpc.NewServer()
	r.Register(server, func([]byte) error { return nil }, func(context.Context) string { return "admin ops" })
	l := bufconn.Listen(1 << 20)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// three are s1, which is asked, s2, which answers, and s3, which does not.
func three(t *testing.T) (f *fabric, s2 *Room, s1 weftv1.BackupsClient) {
	t.Helper()
	f = newFabric(t, "n1 10.42.0.0/24")
	config := f.room.Config
	config.Server, config.Folder = "s2", Folder{t.TempDir()}
	s2 = New(config)
	f.room.Peers = peers{[]string{"s2", "s3"}, map[string]*grpc.ClientConn{"s2": dialed(t, s2)}}
	return f, s2, weftv1.NewBackupsClient(dialed(t, f.room))
}

func (f *fabric) saveOn(r *Room, why string) File {
	f.Helper()
	f.now = f.now.Add(time.Hour)
	file, err := r.Save(f.Context(), why)
	if err != nil {
		f.Fatal(err)
	}
	return file
}

func TestLatestAmongServers(t *testing.T) {
	const other = "manual-20990101T000000Z-r99.weft.gz"
	aside := strings.Replace(other, ByHand, Aside, 1)
	for _, c := range []struct {
		name, files, ask string // files: made in this order, the server and why
		last             Made   // in the store; zero: as it came
		want             string // server and why
		is               error
		err              string
	}{
		{"ours is the latest", "s2 manual, s1 manual", Latest, Made{}, "s1 manual", nil, ""},
		{"another has a younger one", "s1 manual, s2 auto", Latest, Made{}, "s2 auto", nil, ""},
		{"another has the only one", "s2 manual", Latest, Made{}, "s2 manual", nil, ""},
		{"another saved what it replaced", "s1 manual, s2 before-restore", Latest, Made{}, "s1 manual", nil, ""},
		{"one that is silent has a younger one", "s1 manual, s2 auto", Latest, Made{"s3", other, 1 << 33}, "", ErrOnOther, "the latest of those that answer is auto-"},
		{"one that is silent has the only one", "", Latest, Made{"s3", other, 1 << 33}, "", ErrOnOther, "there is no backup on a server that answers: another server has it: server s3 has " + other},
		{"one that is silent has an older one", "s1 manual", Latest, Made{"s3", other, 1}, "s1 manual", nil, ""},
		{"one that is silent saved what it replaced", "s1 manual", Latest, Made{"s3", aside, 1 << 33}, "s1 manual", nil, ""},
		{"the youngest was removed by hand", "s1 manual", Latest, Made{"s2", other, 1 << 33}, "s1 manual", nil, ""},
		{"none", "", Latest, Made{}, "", fs.ErrNotExist, "weft backup save"},
		{"ours by name", "s2 auto, s1 manual", "s1 manual", Made{}, "s1 manual", nil, ""},
		{"another's by name", "s1 manual, s2 auto", "s2 auto", Made{}, "s2 auto", nil, ""},
		{"one that is silent has it", "s1 manual", other, Made{"s3", other, 1}, "", ErrOnOther, other + " is not on a server that answers: another server has it: server s3"},
		{"nobody's", "s1 manual", other, Made{}, "", fs.ErrNotExist, "there is no " + other + " on s1, s2, s3; see: weft backup ls (server s3 does not answer)"},
		{"no name of a backup", "s1 manual", "../server.key", Made{}, "", nil, `"../server.key" is no name of a backup`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, s2, _ := three(t)
			made := map[string]place{}
			for _, word := range strings.Split(c.files, ", ") {
				server, why, ok := strings.Cut(word, " ")
				if !ok {
					continue
				}
				made[word] = place{server, f.saveOn(map[string]*Room{"s1": f.room, "s2": s2}[server], why).Name}
			}
			if c.last.Server != "" {
				f.room.change(t.Context(), func(s *State) { s.Last = &c.last })
			}
			ask := c.ask
			if p, ok := made[ask]; ok {
				ask = p.name
			}
			got, err := f.room.locate(t.Context(), ask)
			if got != made[c.want] || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("got  %v, %v\nwant %v, %s", got, err, made[c.want], c.err)
			}
		})
	}
}

// TestLatestOfOneSecond: of two of the same second the later revision is the latest.
func TestLatestOfOneSecond(t *testing.T) {
	f, s2, _ := three(t)
	f.saveOn(f.room, ByHand)
	f.lease("n2 10.42.1.0/24")
	f.now = f.now.Add(-time.Hour)
	want := place{"s2", f.saveOn(s2, ByHand).Name}
	if got, err := f.room.locate(t.Context(), Latest); got != want || err != nil {
		t.Error(got, err)
	}
}

// TestListEverywhere: the backups of all servers with who has them, and who was not
// heard.
func TestListEverywhere(t *testing.T) {
	f, s2, client := three(t)
	one, two := f.saveOn(f.room, ByHand), f.saveOn(s2, Scheduled)
	a, err := client.List(t.Context(), &weftv1.BackupsListRequest{Everywhere: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range a.GetBackups() {
		got = append(got, b.GetHolder()+" "+b.GetName())
	}
	for _, u := range a.GetUnheard() {
		got = append(got, u.GetServer()+": "+u.GetWhy())
	}
	if diff := cmp.Diff([]string{"s2 " + two.Name, "s1 " + one.Name, "s3: server s3 does not answer"}, got); diff != "" {
		t.Error(diff)
	}
	if a, err = client.List(t.Context(), &weftv1.BackupsListRequest{}); err != nil || len(a.GetBackups()) != 1 {
		t.Error("of one server:", a, err)
	}
}

// TestRestoreOfAnothers: a backup that another server has is looked at from there,
// and copied for a restore; the answer names it as it was asked for.
func TestRestoreOfAnothers(t *testing.T) {
	f, s2, client := three(t)
	theirs := f.saveOn(s2, ByHand)
	f.object(kind.Node, "n2", kind.NodeSpec{})
	ask := func(name string, dry bool) (*weftv1.BackupsRestoreResponse, error) {
		stream, err := client.Restore(t.Context())
		if err == nil {
			err = stream.Send(&weftv1.BackupsRestoreRequest{DryRun: dry, File: &weftv1.BackupFile{File: &weftv1.BackupFile_Name{Name: name}}})
		}
		if err != nil {
			t.Fatal(err)
		}
		return stream.CloseAndRecv()
	}
	own := func() (names []string) {
		files, err := f.room.Folder.List()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			names = append(names, f.Why)
		}
		return names
	}
	dry, err := ask(Latest, true)
	if err != nil || dry.GetBackup().GetName() != theirs.Name || dry.GetBackup().GetHolder() != "s2" || fmt.Sprint(dry.GetChanges()[0].GetObject()) != "Node/n2" {
		t.Errorf("%v, %v", dry, err)
	}
	if names := own(); len(names) != 0 {
		t.Error("a dry run left", names)
	}
	done, err := ask(theirs.Name, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := done.GetBackup(); got.GetName() != theirs.Name || got.GetServer() != "s2" || done.GetServer() != "s1" || !strings.HasPrefix(done.GetCopiedAs(), Given) {
		t.Error(done)
	}
	if diff := cmp.Diff([]string{Aside, Given}, own()); diff != "" {
		t.Error(diff)
	}
	m, marked, err := Marked(t.Context(), f.store)
	if err != nil || !marked || m.File != done.GetCopiedAs() || m.Server != "s1" {
		t.Error(m, marked, err)
	}
	// until it is done nothing else is copied here
	if _, err := ask(theirs.Name, false); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "is under way, since") {
		t.Error(err)
	}
	if err := f.room.Finish(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	// what another has that is damaged is refused by its name, and not kept
	hurt := strings.Replace(theirs.Name, ByHand, Scheduled, 1)
	b, err := os.ReadFile(filepath.Join(s2.Folder.Path, theirs.Name))
	if err == nil {
		err = os.WriteFile(filepath.Join(s2.Folder.Path, hurt), b[:len(b)/2], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ask(hurt, false); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), hurt+": ") || !strings.Contains(err.Error(), "nothing was changed") {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{Aside, Given}, own()); diff != "" {
		t.Error("kept:", diff)
	}
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// TestAFullDiskIsToldOnce: not by each layer that was in the way.
func TestAFullDiskIsToldOnce(t *testing.T) {
	f := newFabric(t, "n1 10.42.0.0/24")
	_, _, err := write(t.Context(), full{}, f.store, Header{})
	if err == nil || strings.Count(err.Error(), "no space left") != 1 {
		t.Error(err)
	}
}

// stopping are servers that are stopped, by a restore, while they are asked for a file.
type stopping struct {
	peers
	restore func()
}

func (s *stopping) Call(context.Context, string, func(context.Context, grpc.ClientConnInterface) error) error {
	if s.restore != nil {
		s.restore()
		s.restore = nil
	}
	return status.Error(codes.Unavailable, "the server is being stopped")
}

// TestRestoreMeetsAnother: who asks for a file while the servers that have it stop for
// another restore is told of that, not that there is no such file.
func TestRestoreMeetsAnother(t *testing.T) {
	for _, c := range []struct {
		what string
		done bool // the other has come to its end meanwhile
		dry  bool
		want string
	}{
		{"under way", false, false, "is under way, since"},
		{"done", true, false, "began epoch 2 meanwhile"},
		{"a dry run", false, true, "there is no manual-"},
	} {
		f, s2, s1 := three(t)
		file := f.saveOn(s2, ByHand)
		f.room.Peers = &stopping{peers{names: []string{"s2"}}, func() {
			m, err := s2.Begin(t.Context(), file.Name, "admin other")
			if err == nil && c.done {
				err = s2.Finish(t.Context(), m)
			}
			if err != nil {
				t.Error(err)
			}
		}}
		stream, err := s1.Restore(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&weftv1.BackupsRestoreRequest{DryRun: c.dry, File: &weftv1.BackupFile{File: &weftv1.BackupFile_Name{Name: file.Name}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.CloseAndRecv(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", c.what, err, c.want)
		}
	}
}
