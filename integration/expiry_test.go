package integration

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/agent/uplink"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/join"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/test/bufconn"
)

const day = 24 * time.Hour

// offline is one fabric of one server and one node, both real, in virtual time: the
// store and the node's folder outlive them. The server does no more than identity.
type offline struct {
	t          *testing.T
	store      *storetest.Memory
	data, node string

	life  time.Duration // of certificates; 0: as ever
	skew  time.Duration // of the node's clock, against the server's
	token join.Token    // zero: the agents' first
	pods  bool          // that keep an ephemeral node from leaving
}

func newOffline(t *testing.T, data, node string) *offline {
	return &offline{t: t, store: storetest.New(), data: data, node: node}
}

// streams hands on who opens one, and beats as a server does.
type streams struct {
	weftv1.UnimplementedNodeSyncServer
	came chan string
	now  func() time.Time // the server's clock
}

func (s streams) Sync(stream grpc.BidiStreamingServer[weftv1.SyncRequest, weftv1.SyncResponse]) error {
	name, err := identity.NodeFromContext(stream.Context())
	if err != nil {
		return err
	}
	select {
	case s.came <- name:
	default: // nobody counts them
	}
	beat := time.NewTicker(7 * time.Second) // as seldom as an agent bears: days are long
	defer beat.Stop()
	for {
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-beat.C:
			if err := stream.Send(&weftv1.SyncResponse{Message: &weftv1.SyncResponse_Heartbeat{Heartbeat: &weftv1.Heartbeat{UnixMilli: s.now().UnixMilli()}}}); err != nil {
				return err
			}
		}
	}
}

// serve runs a server until ctx ends, whose clock may be wrong.
func (o *offline) serve(ctx context.Context, running *sync.WaitGroup, skew time.Duration) (*identity.Authority, *bufconn.Listener, streams) {
	o.t.Helper()
	clock := func() time.Time { return time.Now().Add(skew) }
	var auth *identity.Authority
	auth, err := identity.Open(ctx, o.store, identity.Config{
		DataDir: o.data, Server: "https://localhost:7443", NodeLife: o.life, Now: clock,
		Leave: func(ctx context.Context, node string) error { return o.end(ctx, auth.Revocation, node) },
	})
	if err != nil {
		o.t.Fatal(err)
	}
	running.Go(func() { _ = auth.Run(ctx) })
	if err := auth.WaitReady(ctx); err != nil {
		o.t.Fatal(err)
	}
	l, hub := bufconn.Listen(1<<20), streams{came: make(chan string, 1), now: clock}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(auth.TLS("h2"))), grpc.UnaryInterceptor(auth.Unary), grpc.StreamInterceptor(auth.Stream))
	weftv1.RegisterJoinServer(s, auth)
	weftv1.RegisterNodeSyncServer(s, hub)
	running.Go(func() { _ = s.Serve(l) })
	context.AfterFunc(ctx, s.Stop)
	return auth, l, hub
}

// operate starts a server for what an operator, or the server itself, does.
func (o *offline) operate(do func(context.Context, *identity.Authority) error) {
	o.t.Helper()
	ctx, cancel := context.WithCancel(o.t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	auth, _, _ := o.serve(ctx, &running, 0)
	if err := do(ctx, auth); err != nil {
		o.t.Error(err)
	}
}

// end ends an identity as an operator's or the clock's hand does.
func (o *offline) end(ctx context.Context, how func(context.Context, string) (store.Txn, error), node string) error {
	txn, err := how(ctx, node)
	if err == nil && len(txn.Then) > 0 {
		_, err = o.store.Commit(ctx, txn)
	}
	return err
}

// agent is the node's, over a network that leads to some server.
func (o *offline) agent(dir *datadir.Dir, dial func(context.Context) (net.Conn, error)) *uplink.Uplink {
	o.t.Helper()
	u, err := uplink.New(dir, uplink.Config{
		Node: "n1", Servers: []string{"192.0.2.1:7443"}, Log: slog.New(slog.DiscardHandler), OnChange: func() {},
		Now:  func() time.Time { return time.Now().Add(o.skew) },
		Dial: func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) },
		Token: func() (join.Token, error) {
			if o.token != (join.Token{}) {
				return o.token, nil
			}
			return join.LoadToken(filepath.Join(o.data, "agent-token"))
		},
		Leave: func() bool { return !o.pods },
	})
	if err != nil {
		o.t.Fatal(err)
	}
	u.SetReport(uplink.Report{Underlay: []intent.Underlay{{Addr: netip.MustParsePrefix("10.0.0.11/24"), Device: "eth0", MTU: 1500}}, VTEP: u.VTEP()})
	return u
}

// meet starts a server and the node's agent, and lets them be for a while once the
// node has its stream. It answers with what the agent calls wrong: if it ends, its
// error; if it has no stream after a minute, its problem.
func (o *offline) meet(while func(context.Context, *identity.Authority, *uplink.Uplink)) (wrong string) {
	o.t.Helper()
	ctx, cancel := context.WithCancel(o.t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	auth, l, hub := o.serve(ctx, &running, 0)
	dir, err := datadir.Open(o.node)
	if err != nil {
		o.t.Fatal(err)
	}
	defer dir.Close()
	agent := o.agent(dir, l.DialContext)
	ended := make(chan error, 1)
	stopped, stop := context.WithCancel(ctx)
	go func() { ended <- agent.Run(stopped) }()
	select {
	case <-hub.came:
		if while != nil {
			while(ctx, auth, agent)
		}
	case err := <-ended:
		stop()
		return fmt.Sprint(err)
	case <-time.After(time.Minute):
		for _, p := range agent.Problems() {
			wrong += p.Cause + " -> " + p.Remedy + "\n"
		}
	}
	stop()
	if err := <-ended; err != nil {
		return err.Error()
	}
	return wrong
}

// A node that was off for longer than its certificate renews with its key, up to 30
// days after the end; later, however long, its agent says what to run, and asks
// again ever more slowly.
func TestNodeThatWasOff(t *testing.T) {
	for _, c := range []struct {
		off  time.Duration
		back bool
	}{
		{12 * time.Hour, true},
		{2 * day, true},
		{31*day - time.Minute, true},
		{31*day + time.Minute, false},
		{365 * day, false},
	} {
		t.Run(c.off.String(), func(t *testing.T) {
			data, node := t.TempDir(), filepath.Join(t.TempDir(), "agent")
			synctest.Test(t, func(t *testing.T) {
				o := newOffline(t, data, node)
				if wrong := o.meet(nil); wrong != "" {
					t.Fatal(wrong)
				}
				ended := time.Now().Add(day).UTC().Format(time.RFC3339)
				time.Sleep(c.off)
				wrong := o.meet(nil)
				if c.back && wrong != "" {
					t.Errorf("it is not back: %s", wrong)
				}
				for _, want := range []string{
					"renewal of the certificate refused: the certificate of node n1 ended at " + ended + ", more than 720h0m0s ago (this server's clock says ",
					"let it join again: weft token create --node n1 --replace",
					"remove " + filepath.Join(node, "cert.pem") + " and start with that token",
				} {
					if !c.back && !strings.Contains(wrong, want) {
						t.Errorf("want %q\n got %s", want, wrong)
					}
				}
			})
		})
	}
}

// A node that slept through whole rotations of the CA, until nothing that it has
// counts any more, follows from its old root to the newest and renews with its key.
func TestNodeThatSleptThroughRotations(t *testing.T) {
	for _, c := range []struct {
		name  string
		often bool // that it is awake between them
	}{{"each", true}, {"three", false}} {
		t.Run(c.name, func(t *testing.T) {
			data, node := t.TempDir(), filepath.Join(t.TempDir(), "agent")
			synctest.Test(t, func(t *testing.T) {
				o := newOffline(t, data, node)
				if wrong := o.meet(nil); wrong != "" {
					t.Fatal(wrong)
				}
				for i := range 3 {
					time.Sleep(5 * day)
					o.operate(rotate)
					if !c.often && i < 2 {
						continue
					}
					if wrong := o.meet(nil); wrong != "" {
						t.Errorf("it is not back: %s", wrong)
					}
				}
			})
		})
	}
}

// rotate is a whole rotation, without those who sleep.
func rotate(ctx context.Context, auth *identity.Authority) error {
	for _, force := range []bool{false, true} {
		if _, err := auth.RotateCA(ctx, force); err != nil {
			return err
		}
	}
	_, err := auth.FinishRotation(ctx, true)
	return err
}

// A node whose clock is wrong has its stream, knows how wrong it is, and renews when
// the server's clock says so: no earlier, no more often, never too late.
func TestClocksApart(t *testing.T) {
	for _, c := range []struct {
		skew time.Duration // of the node's clock
		want string        // what it complains of; empty: it is in
	}{
		{0, ""},
		{3 * time.Hour, ""},
		{-3 * time.Hour, ""},
		{20 * time.Hour, ""},
		{-20 * time.Hour, ""},
		{25 * day, ""},
		{-30 * 365 * day, ""}, // a machine without a battery
		{91 * day, "the server's certificate: ended at "},
	} {
		t.Run(c.skew.String(), func(t *testing.T) {
			data, node := t.TempDir(), filepath.Join(t.TempDir(), "agent")
			synctest.Test(t, func(t *testing.T) {
				o := newOffline(t, data, node)
				o.skew, o.life = c.skew, 4*time.Hour // of 24 h it would be the same, and long
				var counted renewals
				for range 2 { // the second finds the certificate, and knows nothing of the server's clock
					wrong := o.meet(func(ctx context.Context, auth *identity.Authority, u *uplink.Uplink) {
						for range 5 * 4 {
							time.Sleep(time.Hour / 4)
							synctest.Wait() // what happens at that instant has happened
							counted.count(u)
							if s := u.Status(); s.Server == "" {
								t.Errorf("no stream at %v: %v", time.Now(), s.Err)
							}
						}
						if apart := u.Status().Apart; (apart + c.skew).Abs() > time.Second {
							t.Errorf("the node takes the clocks for %v apart", apart)
						}
					})
					if (wrong == "") != (c.want == "") || !strings.Contains(wrong, c.want) {
						t.Errorf("want %q, got %q", c.want, wrong)
					}
				}
				// A certificate of 4 h, backdated 1 h, is renewed after 2 h 20 min; when it
				// starts, a node may do so once more.
				if c.want == "" && (counted.n < 5 || counted.n > 6) {
					t.Errorf("%d certificates in ten hours", counted.n)
				}
			})
		})
	}
}

// Two servers whose clocks are hours apart: a node that comes from the one to the
// other has its stream there at once, by a certificate of that one's time.
func TestServersClocksApart(t *testing.T) {
	for _, skew := range []time.Duration{3 * time.Hour, -3 * time.Hour, 30 * time.Hour, -30 * time.Hour} { // of the second
		t.Run(skew.String(), func(t *testing.T) {
			data, node := t.TempDir(), filepath.Join(t.TempDir(), "agent")
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				defer running.Wait()
				defer cancel()
				o := newOffline(t, data, node)
				o.life = 4 * time.Hour
				// A server whose clock is before the birth of the CA does not start.
				o.operate(func(context.Context, *identity.Authority) error { return nil })
				time.Sleep(31 * time.Hour)
				_, l1, hub1 := o.serve(ctx, &running, 0)
				_, l2, hub2 := o.serve(ctx, &running, skew)
				dir, err := datadir.Open(node)
				if err != nil {
					t.Fatal(err)
				}
				defer dir.Close()
				var mu sync.Mutex
				var conns []net.Conn // of the stream, and of renewals
				at := l1
				u := o.agent(dir, func(ctx context.Context) (net.Conn, error) {
					mu.Lock()
					defer mu.Unlock()
					conn, err := at.DialContext(ctx)
					if err == nil {
						conns = append(conns, conn)
					}
					return conn, err
				})
				running.Go(func() { _ = u.Run(ctx) })
				var counted renewals
				for i, hub := range []streams{hub1, hub2, hub1, hub2, hub1} {
					select {
					case <-hub.came:
					case <-time.After(10 * time.Second):
						t.Fatalf("move %d: no stream after 10 s: %v", i, u.Status().Err)
					}
					for range 6 {
						time.Sleep(time.Hour)
						counted.count(u)
					}
					want := []time.Duration{0, skew}[i%2]
					if s := u.Status(); s.Server == "" || (s.Apart-want).Abs() > time.Second {
						t.Errorf("move %d: server %q, apart %v: %v", i, s.Server, s.Apart, s.Err)
					}
					for len(hub1.came)+len(hub2.came) > 0 {
						select {
						case <-hub1.came:
						case <-hub2.came:
						}
					}
					mu.Lock()
					if at = l2; i%2 == 1 {
						at = l1
					}
					for _, c := range conns {
						c.Close()
					}
					conns = nil
					mu.Unlock()
				}
				if most := 5 * 4; counted.n > most { // 30 hours by certificates of 4, and one a move
					t.Errorf("%d certificates, at most %d are of use", counted.n, most)
				}
			})
		})
	}
}

// renewals counts the certificates that an agent had.
type renewals struct {
	last time.Time
	n    int
}

func (r *renewals) count(u *uplink.Uplink) {
	if ends := u.Status().CertificateEnd; !ends.Equal(r.last) {
		r.last, r.n = ends, r.n+1
	}
}

// An ephemeral node, by its token alone, says goodbye when it stops. One that could
// not, and was deleted because it stayed away, comes in again by itself, with its
// old key, if it still has a token that is good; one that was deleted by hand does
// not.
func TestEphemeralNodeComesBack(t *testing.T) {
	for _, c := range []struct {
		name string
		how  func(*identity.Authority, context.Context, string) (store.Txn, error)
		late time.Duration // that it comes back after
		want string
	}{
		{"away, with a good token", (*identity.Authority).Expiry, 2 * time.Hour, ""},
		{"away for so long that its certificate ended, with a good token", (*identity.Authority).Expiry, 47 * time.Hour, ""},
		{"away, with a token that has ended", (*identity.Authority).Expiry, 49 * time.Hour, "expired at"},
		{"deleted by hand", (*identity.Authority).Revocation, 2 * time.Hour, "was revoked at"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, node := t.TempDir(), filepath.Join(t.TempDir(), "agent")
			synctest.Test(t, func(t *testing.T) {
				o := newOffline(t, data, node)
				o.pods = true
				o.operate(func(ctx context.Context, auth *identity.Authority) (err error) {
					o.token, _, err = auth.CreateToken(ctx, identity.TokenSpec{Ephemeral: true, TTL: 48 * time.Hour})
					return err
				})
				if wrong := o.meet(nil); wrong != "" {
					t.Fatal(wrong)
				}
				time.Sleep(time.Hour)
				o.operate(func(ctx context.Context, auth *identity.Authority) error {
					return o.end(ctx, func(ctx context.Context, node string) (store.Txn, error) { return c.how(auth, ctx, node) }, "n1")
				})
				time.Sleep(c.late - time.Hour)
				if wrong := o.meet(nil); (wrong == "") != (c.want == "") || !strings.Contains(wrong, c.want) {
					t.Errorf("want %q, got %q", c.want, wrong)
				}
				if c.want != "" {
					return
				}
				o.pods = false // it is still ephemeral, and says goodbye
				if wrong := o.meet(nil); wrong != "" {
					t.Error(wrong)
				}
				o.operate(func(_ context.Context, auth *identity.Authority) error {
					if n, _ := auth.Node("n1"); n.RevokedUnix == 0 || n.Expired {
						t.Errorf("it said no goodbye: %+v", n)
					}
					return nil
				})
				if wrong := o.meet(nil); wrong != "" {
					t.Errorf("it does not come again: %s", wrong)
				}
			})
		})
	}
}
