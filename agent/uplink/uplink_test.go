package uplink

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/agent/uplink/uplinktest"
	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// in runs a test in a bubble of virtual time, with a fabric that serves.
func in(t *testing.T, f func(t *testing.T, ctx context.Context, fab *uplinktest.Fabric)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		fab := uplinktest.New(t)
		fab.Serve(ctx)
		f(t, ctx, fab)
		cancel()
		synctest.Wait()
	})
}

func peersOf(n *node) string {
	in, ok := n.Intent()
	if !ok {
		return "none"
	}
	var names []string
	for _, p := range in.Peers {
		names = append(names, p.Name)
	}
	return strings.Join(names, " ")
}

func TestJoinSyncAndStartFromDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "agent")
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, dir)
		stop := n.start(ctx, t)
		s := <-f.Streams
		if s.Hello.GetNode() != "n1" || s.Hello.GetEpoch() != "" || s.Hello.GetReport().GetAddresses()[0].GetAddress() != "10.0.0.11/24" {
			t.Errorf("hello: %v", s.Hello)
		}
		if e := (<-s.Up).GetEndpoints(); e == nil || !e.GetFull() {
			t.Errorf("the first delta of endpoints is not full: %v", e)
		}
		s.Tell(t, "e1", 7, "n1", "n2")
		<-n.changed
		if got := peersOf(n); got != "n1 n2" {
			t.Errorf("peers %q", got)
		}
		n.Applied(7)
		if a := (<-s.Up).GetAck(); a.GetEpoch() != "e1" || a.GetRevision() != 7 {
			t.Errorf("ack: %v", a)
		}
		s.Say(t, uplinktest.Peer("n3"), uplinktest.Delete(intent.CollectionPeers, intent.PeerKey("n2")), uplinktest.Complete("e1", 8))
		<-n.changed
		stop()

		again := newNode(t, f, dir)
		if got := peersOf(again); got != "n1 n3" {
			t.Errorf("from disk: peers %q", got)
		}
		defer again.start(ctx, t)()
		s = <-f.Streams
		if joins, _ := f.Counts(); s.Hello.GetEpoch() != "e1" || s.Hello.GetRevision() != 8 || joins != 1 {
			t.Errorf("second start: hello %v after %d joins", s.Hello, joins)
		}
	})
}

// TestAServerThatKnowsNoLines: of the last release, say. It is spoken to by gRPC,
// and why it ends a stream arrives all the same.
func TestAServerThatKnowsNoLines(t *testing.T) {
	for _, old := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			f := uplinktest.New(t)
			f.OnlyGRPC = old
			f.Serve(ctx)
			n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
			stop := n.start(ctx, t)
			s := <-f.Streams
			s.Tell(t, "e1", 7, "n1", "n2")
			<-n.changed
			n.Applied(7)
			(<-s.Up).GetEndpoints()
			if a := (<-s.Up).GetAck(); a.GetRevision() != 7 {
				t.Errorf("only gRPC %v: ack: %v", old, a)
			}
			s.End <- status.Error(codes.PermissionDenied, "revoked; do: join again")
			synctest.Wait()
			if err := n.Status().Err; status.Code(rootCause(err)) != codes.PermissionDenied {
				t.Errorf("only gRPC %v: the stream ended with %v", old, err)
			}
			stop()
			cancel()
			synctest.Wait()
		})
	}
}

func TestHeartbeats(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
		defer n.start(ctx, t)()
		s := <-f.Streams
		s.Tell(t, "e1", 1, "n1")
		<-n.changed
		go s.Beat(ctx)
		began := time.Now()
		for range 10 {
			<-s.Beats
		}
		if took := time.Since(began); took > 31*time.Second {
			t.Errorf("10 heartbeats took %v", took)
		}
		if got := n.Status().Server; got != "192.0.2.1:7443" {
			t.Errorf("server in use: %q", got)
		}
	})
}

// A server that falls silent is given up within 10 s; when the path is back, the
// stream is there within 2 s, however long it was away.
func TestSilenceAndReturn(t *testing.T) {
	for _, away := range []time.Duration{30 * time.Second, 30*time.Second + 333*time.Millisecond, 10 * time.Minute} {
		in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
			n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
			defer n.start(ctx, t)()
			s := <-f.Streams
			s.Tell(t, "e1", 1, "n1")
			<-n.changed
			f.Cut(true)
			silent := time.Now()
			<-s.Context().Done()
			if took := time.Since(silent); took > 10*time.Second {
				t.Errorf("silence found after %v", took)
			}
			time.Sleep(away)
			f.Cut(false)
			back := time.Now()
			<-f.Streams
			if took := time.Since(back); took > 2200*time.Millisecond {
				t.Errorf("in step %v after the path was back", took)
			}
			if got := peersOf(n); got != "n1" {
				t.Errorf("silence changed the intent: %q", got)
			}
		})
	}
}

// Servers that are back in a moment were no problem; those that stay away are one, since
// they went.
func TestAShortAbsenceIsNoProblem(t *testing.T) {
	for away, want := range map[time.Duration]bool{3 * time.Second: false, 8 * time.Second: false, 14 * time.Second: true} {
		in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
			n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
			defer n.start(ctx, t)()
			s := <-f.Streams
			s.Tell(t, "e1", 1, "n1")
			<-n.changed
			up := f.Down()
			went := time.Now()
			s.End <- status.Error(codes.Unavailable, "a backup is being restored")
			time.Sleep(away)
			ps := n.Problems()
			if (len(ps) == 1) != want {
				t.Errorf("away for %v: %v", away, ps)
			}
			if want && (ps[0].SinceUnix != went.Unix() || !strings.HasPrefix(ps[0].Cause, "no server answers: ")) {
				t.Errorf("%+v, gone since %d", ps[0], went.Unix())
			}
			up()
			back := <-f.Streams
			back.Tell(t, "e2", 1, "n1")
			<-n.changed
			if ps := n.Problems(); len(ps) != 0 {
				t.Errorf("back after %v: %v", away, ps)
			}
		})
	}
}

// What a server says of this node is told at once.
func TestWhatPasses(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{errors.New("uplink: connect to server 192.0.2.1:7443: refused"), true},
		{fmt.Errorf("uplink: receive: %w", status.Error(codes.Unavailable, "a backup is being restored")), true},
		{backoffError{time.Second, "too many"}, true},
		{backoffError{time.Second, "the release is too old; upgrade it"}, false},
		{refusedError{what: "join"}, false},
		{status.Error(codes.PermissionDenied, "it was revoked"), false},
	} {
		if got := passes(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}

func TestRenewsAtTwoThirds(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
		defer n.start(ctx, t)()
		s := <-f.Streams
		go s.Beat(ctx)
		end := n.Status().CertificateEnd
		time.Sleep(15 * time.Hour)
		synctest.Wait()
		if _, renews := f.Counts(); renews != 0 {
			t.Fatalf("renewed after 15 of 24 h")
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if _, renews := f.Counts(); renews != 1 || !n.Status().CertificateEnd.After(end) {
			t.Fatalf("%d renewals, certificate until %v", renews, n.Status().CertificateEnd)
		}
	})
}

func TestRenewsAfterExpiry(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "agent")
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, dir)
		stop := n.start(ctx, t)
		(<-f.Streams).Tell(t, "e1", 1, "n1")
		<-n.changed
		stop()
		time.Sleep(48 * time.Hour)
		n = newNode(t, f, dir)
		defer n.start(ctx, t)()
		<-f.Streams
		if joins, renews := f.Counts(); joins != 1 || renews != 1 {
			t.Errorf("%d joins, %d renewals", joins, renews)
		}
	})
}

func TestJoinRefusedEndsRun(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{
			status.Error(codes.PermissionDenied, "token abc expired"),
			"uplink: join refused: token abc expired; get a token from: weft token create",
		},
		{
			status.Error(codes.PermissionDenied, "token abc is used up (1 of 1); make one with weft token create"),
			"uplink: join refused: token abc is used up (1 of 1); make one with weft token create",
		},
		{
			status.Error(codes.AlreadyExists, "node n1 is recorded with another key; if it was reinstalled or replaced: weft token create --node n1 --replace"),
			"uplink: join refused: node n1 is recorded with another key; if it was reinstalled or replaced: weft token create --node n1 --replace; if the name is another machine's, choose one with --node-name",
		},
	} {
		in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
			f.Refuse = c.err
			n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
			defer n.dir.Close()
			err := n.Run(ctx)
			if err == nil || err.Error() != c.want {
				t.Errorf("Run: %v, want %q", err, c.want)
			}
		})
	}
}

// TestServerProblem: what is the matter, and what to do, each in its own place;
// since the outage began, though each try fails in other words.
func TestServerProblem(t *testing.T) {
	var l ledger
	began := time.Unix(1000, 0)
	for i, err := range []error{errors.New("uplink: connect to server 192.0.2.1:7443: refused"), errors.New("uplink: timed out")} {
		l.set("server", []intent.Problem{serverProblem("n1", err, began)}, began.Add(time.Duration(i)*time.Minute))
		want := intent.Problem{
			Subject: "server", Cause: "no server answers: " + err.Error(), SinceUnix: 1000,
			Remedy: "nothing on this node: its data path runs on; look at the servers, and at what drops TCP 7443 between",
		}
		if got := l.all(); len(got) != 1 || got[0] != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
}

// One whose stream another agent took is told so: servers answer.
func TestServerProblemDisplaced(t *testing.T) {
	for _, said := range []string{
		"another stream of node n1 came, from machine m at 192.0.2.9; the newest holds",
		"another stream of node n1 came to another server, from machine m at 192.0.2.9; the newest holds",
	} {
		want := intent.Problem{
			Subject: "server", SinceUnix: 1000, Cause: "another agent took this node's stream: " + said,
			Remedy: "weft status tells which machines speak as node n1; on the one that is a copy: weft-agent cleanup, then join it under a name of its own (--node-name)",
		}
		if got := serverProblem("n1", fmt.Errorf("uplink: receive: %w", status.Error(codes.Aborted, said)), time.Unix(1000, 0)); got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
}

// A node that was deleted is told so: servers answer, and nothing drops packets.
func TestServerProblemSentAway(t *testing.T) {
	err := fmt.Errorf("uplink: receive: %w", status.Error(codes.PermissionDenied, "node n1: it was revoked at 2026-11-21T14:00:00Z"))
	want := intent.Problem{
		Subject: "server", SinceUnix: 1000, Cause: "this node was sent away from the fabric: node n1: it was revoked at 2026-11-21T14:00:00Z",
		Remedy: "its data path stays as it is; to end it: weft-agent cleanup; to join again, start with a token from: weft token create --node n1 --replace",
	}
	if got := serverProblem("n1", err, time.Unix(1000, 0)); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// A node without an address does not speak yet, and gives no reason to think that
// a server is silent.
func TestWaitsForReport(t *testing.T) {
	b := newOutbox("n1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.awaitReport(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("without a report: %v", err)
	}
	go b.setReport(Report{Kernel: "6.1"})
	if err := b.awaitReport(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestBackoffOfTheServer(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
		defer n.start(ctx, t)()
		s := <-f.Streams
		s.Say(t, &weftv1.SyncResponse{Message: &weftv1.SyncResponse_Backoff{Backoff: &weftv1.Backoff{Seconds: 40, Reason: "too many"}}})
		asked := time.Now()
		<-f.Streams
		if d := time.Since(asked); d < 40*time.Second || d > 52*time.Second {
			t.Errorf("back after %v, asked for 40 s", d)
		}
	})
}

func TestBackoffHasJitterAndBounds(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
		f.Down()
		defer n.start(ctx, t)()
		time.Sleep(time.Minute)
		dials := f.Dials()
		seen := map[time.Duration]bool{}
		for i := 1; i < len(dials); i++ {
			d := dials[i].Sub(dials[i-1])
			if d < backoffMin || d > backoffMax {
				t.Errorf("pause of %v", d)
			}
			seen[d] = true
		}
		if len(seen) < 10 {
			t.Errorf("%d tries in a minute with %d different pauses", len(dials), len(seen))
		}
	})
}

func TestOldSetStandsUntilConfirmed(t *testing.T) {
	nine := []string{"n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"}
	start := func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) (*node, *uplinktest.Stream, func()) {
		n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
		stop := n.start(ctx, t)
		s := <-f.Streams
		go s.Beat(ctx)
		s.Tell(t, "e1", 10, nine...)
		<-n.changed
		s.Tell(t, "e2", 3, "n1", "n2")
		synctest.Wait()
		if got := peersOf(n); got != strings.Join(nine, " ") {
			t.Fatalf("taken at once: %q", got)
		}
		return n, s, stop
	}
	t.Run("by a second revision", func(t *testing.T) {
		in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
			n, s, stop := start(t, ctx, f)
			defer stop()
			s.Say(t, uplinktest.Peer("n3"), uplinktest.Complete("e2", 4))
			<-n.changed
			if got := peersOf(n); got != "n1 n2 n3" {
				t.Errorf("peers %q", got)
			}
		})
	})
	t.Run("by 60 s", func(t *testing.T) {
		in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
			n, _, stop := start(t, ctx, f)
			defer stop()
			began := time.Now()
			<-n.changed
			if took := time.Since(began); took < 59*time.Second || peersOf(n) != "n1 n2" {
				t.Errorf("after %v: %q", took, peersOf(n))
			}
		})
	})
	t.Run("not at all when the peers come back", func(t *testing.T) {
		in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
			n, s, stop := start(t, ctx, f)
			defer stop()
			s.Tell(t, "e2", 5, nine...)
			<-n.changed
			if got := peersOf(n); got != strings.Join(nine, " ") || len(n.Problems()) != 0 {
				t.Errorf("peers %q, problems %v", got, n.Problems())
			}
		})
	})
}

func TestNonsenseAsksForAFullSet(t *testing.T) {
	for _, c := range []struct {
		name string
		msgs []*weftv1.SyncResponse
	}{
		{"complete within brackets", []*weftv1.SyncResponse{uplinktest.Begin(), uplinktest.Complete("e1", 9)}},
		{"end without begin", []*weftv1.SyncResponse{uplinktest.End()}},
		{"another epoch without a full set", []*weftv1.SyncResponse{uplinktest.Complete("e2", 9)}},
		{"a revision going back", []*weftv1.SyncResponse{uplinktest.Complete("e1", 3)}},
		{"an object without a key", []*weftv1.SyncResponse{uplinktest.Set("peers", "", nil)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
				n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
				defer n.start(ctx, t)()
				s := <-f.Streams
				s.Tell(t, "e1", 7, "n1", "n2")
				<-n.changed
				for _, m := range c.msgs {
					_ = s.Send(m)
				}
				s = <-f.Streams
				if s.Hello.GetEpoch() != "" || s.Hello.GetRevision() != 0 {
					t.Errorf("hello holds %q %d", s.Hello.GetEpoch(), s.Hello.GetRevision())
				}
				if got := peersOf(n); got != "n1 n2" {
					t.Errorf("peers %q", got)
				}
			})
		})
	}
}

func TestObjectsNotUnderstoodAreReported(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
		defer n.start(ctx, t)()
		s := <-f.Streams
		<-s.Up // endpoints
		s.Say(t, uplinktest.Begin(), uplinktest.Peer("n1"), uplinktest.Set("peers", "Node//n2", []byte("\xff")), uplinktest.End(), uplinktest.Complete("e1", 1))
		<-n.changed
		e := (<-s.Up).GetObjectError()
		if e.GetKey() != "Node//n2" || e.GetError() == "" || e.GetRemedy() == "" {
			t.Errorf("error: %v", e)
		}
		<-s.Up // problems
		s.Say(t, uplinktest.Peer("n2"), uplinktest.Complete("e1", 2))
		<-n.changed
		if e := (<-s.Up).GetObjectError(); e == nil || e.GetKey() != "Node//n2" || e.GetError() != "" {
			t.Errorf("not taken back: %v", e)
		}
	})
}

func TestReportsAreLevels(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
		defer n.start(ctx, t)()
		s := <-f.Streams
		<-s.Up
		n.SetEndpoints([]Endpoint{{ContainerID: "c1", IfName: "eth0"}, {ContainerID: "c2", IfName: "eth0"}})
		if e := (<-s.Up).GetEndpoints(); e.GetFull() || len(e.GetUpsert()) != 2 {
			t.Errorf("two new: %v", e)
		}
		n.SetEndpoints([]Endpoint{{ContainerID: "c2", IfName: "eth0"}})
		if e := (<-s.Up).GetEndpoints(); len(e.GetRemove()) != 1 || e.GetRemove()[0] != "n1/c1/eth0" || len(e.GetUpsert()) != 0 {
			t.Errorf("one gone: %v", e)
		}
		n.SetProblems([]intent.Problem{{Subject: "weft-vx", Cause: "x"}})
		if p := (<-s.Up).GetProblems().GetProblems(); len(p) != 1 || p[0].GetSinceUnix() == 0 || p[0].GetNode() != "n1" {
			t.Errorf("problems: %v", p)
		}
		s.End <- nil
		s = <-f.Streams
		n.SetReport(Report{Underlay: []intent.Underlay{{Addr: netip.MustParsePrefix("10.0.0.12/24"), Device: "eth0", MTU: 1500}}})
		var full, report bool
		for range 4 {
			m := <-s.Up
			full = full || m.GetEndpoints().GetFull() && len(m.GetEndpoints().GetUpsert()) == 1
			if a := m.GetReport().GetAddresses(); len(a) == 1 && a[0].GetAddress() == "10.0.0.12/24" {
				report = true
			}
			if full && report {
				return
			}
		}
		t.Errorf("after a reconnect: full endpoints %v, report %v", full, report)
	})
}

func TestDataFolder(t *testing.T) {
	good, err := encodeFile(&held{name: "n1", epoch: "e", revision: 4})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, content string
		want          string // of the error; empty: starts
		problem       string
	}{
		{"good", string(good), "", ""},
		{"half written", string(good[:len(good)/2]), "", "could not be read"},
		{"empty", "", "", "could not be read"},
		{"changed", strings.Replace(string(good), `"revision":4`, `"revision":5`, 1), "", "checksum"},
		{"a later release's", `{"schema":9,"sum":"","intent":{}}`, "has schema 9, and this release", ""},
		{"another node's", strings.ReplaceAll(string(mustEncode(t, intent.Node{Name: "n2", Epoch: "e"})), "\n", ""), "--node-name n2", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, intentName), []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			d, err := datadir.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			f := uplinktest.New(t)
			u, err := New(d, config(f, "n1", nil))
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("New: %v, want %q", err, c.want)
				}
				if _, err := os.Stat(filepath.Join(dir, keyName)); !errors.Is(err, os.ErrNotExist) {
					t.Fatal("wrote a key before it refused")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_, ok := u.Intent()
			if ok != (c.problem == "") {
				t.Errorf("holds an intent: %v", ok)
			}
			if c.problem != "" && (len(u.Problems()) != 1 || !strings.Contains(u.Problems()[0].Cause, c.problem)) {
				t.Errorf("problems %v, want %q", u.Problems(), c.problem)
			}
		})
	}
}

func mustEncode(t *testing.T, n intent.Node) []byte {
	t.Helper()
	b, err := encodeFile(&held{n.Name, n.Epoch, n.Compile, n.Revision, nil})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVTEPIsKept(t *testing.T) {
	d, err := datadir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	first, err := loadVTEP(d, nil)
	if err != nil || first[0]&3 != 2 {
		t.Fatalf("%v, %v: not locally administered", first, err)
	}
	if again, err := loadVTEP(d, nil); err != nil || again != first {
		t.Fatalf("%v, then %v, %v", first, again, err)
	}
	for _, damaged := range []string{"", "2", "02:00:00:00:00", strings.Repeat("\x00", 17), "00:00:00:00:00:00"} {
		if err := d.Write(vtepName, []byte(damaged)); err != nil {
			t.Fatal(err)
		}
		if got, err := loadVTEP(d, func() intent.MAC { return first }); err != nil || got != first {
			t.Errorf("%q beside devices: %v, %v", damaged, got, err)
		}
		if again, err := loadVTEP(d, nil); err != nil || again != first {
			t.Errorf("%q: %v is kept, %v", damaged, again, err)
		}
	}
	if err := d.Write(vtepName, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := loadVTEP(d, func() intent.MAC { return intent.MAC{} }); err != nil || got == first || got[0]&3 != 2 {
		t.Errorf("damaged, and no devices: %v, %v", got, err)
	}
}

func TestParseServer(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"https://198.51.100.10:7443", "198.51.100.10:7443"},
		{"https://198.51.100.10", "198.51.100.10:7443"},
		{"https://s1.example.org/", "s1.example.org:7443"},
		{"https://[2001:db8::1]:9", "[2001:db8::1]:9"},
		{"https://[2001:db8::1]", "[2001:db8::1]:7443"},
		{"2001:db8::1", "[2001:db8::1]:7443"},
		{"s1:9000", "s1:9000"},
		{"http://s1", ""},
		{"https://s1/path", ""},
		{"https://user@s1", ""},
		{"s1:port:x", ""},
		{"", ""},
	} {
		got, err := ParseServer(c.in)
		if err != nil {
			got = ""
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q: %s (%v)", c.in, diff, err)
		}
	}
}

// A disk that refuses costs the next start its memory, not this one its intent.
func TestDiskRefuses(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
		if err := os.MkdirAll(n.dir.Path(intentName), 0o700); err != nil { // a folder in the file's place
			t.Fatal(err)
		}
		stop := n.start(ctx, t)
		s := <-f.Streams
		go s.Beat(ctx)
		s.Tell(t, "e1", 7, "n1", "n2")
		<-n.changed
		synctest.Wait()
		if got := peersOf(n); got != "n1 n2" {
			t.Errorf("peers %q", got)
		}
		if ps := n.Problems(); len(ps) != 1 || !strings.Contains(ps[0].Cause, "could not be written") {
			t.Errorf("problems %v", ps)
		}
		if err := os.Remove(n.dir.Path(intentName)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * diskRetry)
		synctest.Wait()
		if b, err := n.dir.Read(intentName); err != nil || len(n.Problems()) != 0 {
			t.Errorf("after the disk was mended: %d bytes, %v, problems %v", len(b), err, n.Problems())
		}
		stop()
	})
}
