package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/join"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/test/bufconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fabric is an Authority that serves over TLS in memory.
type fabric struct {
	*Authority
	t     *testing.T
	store *storetest.Memory
	dir   string
	l     *bufconn.Listener
	stop  func()
}

// newFabric serves until the test ends or stop is called.
func newFabric(t *testing.T, m *storetest.Memory, c Config) *fabric {
	t.Helper()
	if c.DataDir == "" {
		c.DataDir = t.TempDir()
	}
	c.Server = "https://localhost:7443"
	a, err := Open(t.Context(), m, c)
	if err != nil {
		t.Fatal(err)
	}
	f := &fabric{Authority: a, t: t, store: m, dir: c.DataDir, l: bufconn.Listen(1 << 20)}
	ctx, cancel := context.WithCancel(t.Context())
	ran, served := make(chan error, 1), make(chan error, 1)
	go func() { ran <- a.Run(ctx) }()
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(a.TLS())), grpc.UnaryInterceptor(a.Unary), grpc.StreamInterceptor(a.Stream))
	weftv1.RegisterJoinServer(s, a)
	weftv1.RegisterNodeSyncServer(s, echo{})
	weftv1.RegisterMembersServer(s, weftv1.UnimplementedMembersServer{})
	weftv1.RegisterTokensServer(s, weftv1.UnimplementedTokensServer{})
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	reflection.Register(s)
	go func() { served <- s.Serve(f.l) }()
	stopped := false
	f.stop = func() {
		if stopped {
			return
		}
		stopped = true
		s.Stop()
		cancel()
		if err := errors.Join(<-ran, <-served); !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(f.stop)
	if err := a.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return f
}

// echo answers a hello with the name of the node that says it, then waits.
type echo struct {
	weftv1.UnimplementedNodeSyncServer
}

func (echo) Sync(s grpc.BidiStreamingServer[weftv1.SyncRequest, weftv1.SyncResponse]) error {
	name, err := NodeFromContext(s.Context())
	if err != nil {
		return err
	}
	err = s.Send(&weftv1.SyncResponse{Message: &weftv1.SyncResponse_Backoff{Backoff: &weftv1.Backoff{Reason: name}}})
	if err != nil {
		return err
	}
	<-s.Context().Done()
	return s.Context().Err()
}

// dial connects as a TLS client.
func (f *fabric) dial(c *tls.Config) *grpc.ClientConn {
	f.t.Helper()
	conn, err := grpc.NewClient("passthrough:///localhost", grpc.WithTransportCredentials(credentials.NewTLS(c)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return f.l.DialContext(ctx) }))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// agentToken is the first one, from its file.
func (f *fabric) agentToken() join.Token {
	f.t.Helper()
	t, err := join.LoadToken(filepath.Join(f.dir, agentTokenFile))
	if err != nil {
		f.t.Fatal(err)
	}
	return t
}

func (f *fabric) newToken(s TokenSpec) join.Token {
	f.t.Helper()
	t, _, err := f.CreateToken(f.t.Context(), s)
	if err != nil {
		f.t.Fatal(err)
	}
	return t
}

// machine is a node's key, and its certificate once it has joined.
type machine struct {
	name string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newMachine(t testing.TB, name string) *machine {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &machine{name: name, key: key}
}

func (m *machine) request(t testing.TB) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: m.name}}, m.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// join joins over the wire, knowing only the token.
func (f *fabric) join(m *machine, t join.Token) error {
	f.t.Helper()
	client := weftv1.NewJoinClient(f.dial(join.PinnedTLS(t, time.Now)))
	r, err := client.Join(f.t.Context(), &weftv1.JoinRequest{Token: t.Reveal(), Node: m.name, CertificateRequest: m.request(f.t)})
	if err != nil {
		return err
	}
	m.cert, err = x509.ParseCertificate(r.GetCertificate())
	return err
}

// mustJoin joins, and waits until the Authority has seen it.
func (f *fabric) mustJoin(m *machine, t join.Token) *machine {
	f.t.Helper()
	if err := f.join(m, t); err != nil {
		f.t.Fatal(err)
	}
	f.caughtUp()
	return m
}

func (f *fabric) caughtUp() {
	f.t.Helper()
	entries, _, err := f.store.List(f.t.Context(), store.Identity)
	if err != nil {
		f.t.Fatal(err)
	}
	var last int64
	for _, e := range entries {
		last = max(last, e.Revision)
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	if err := f.book.WaitRevision(ctx, last); err != nil {
		f.t.Fatal(err)
	}
	f.followed()
}

// followed returns when the Authority has taken in what its book has: the mirror
// moves before its subscribers hear of it, and nobody subscribes in between.
func (f *fabric) followed() {
	_, _, cancel := f.book.Subscribe(func(store.Batch) {})
	cancel()
}

func (f *fabric) renew(m *machine) error {
	f.t.Helper()
	client := weftv1.NewJoinClient(f.dial(f.trusting()))
	r, err := client.Renew(f.t.Context(), &weftv1.RenewRequest{Node: m.name, CertificateRequest: m.request(f.t)})
	if err != nil {
		return err
	}
	m.cert, err = x509.ParseCertificate(r.GetCertificate())
	return err
}

// trusting is a client without a certificate.
func (f *fabric) trusting() *tls.Config {
	return &tls.Config{RootCAs: f.roots().pool(), ServerName: "localhost"}
}

func (f *fabric) as(m *machine) *tls.Config {
	c := f.trusting()
	c.Certificates = []tls.Certificate{{Certificate: [][]byte{m.cert.Raw}, PrivateKey: m.key}}
	return c
}

// admin is a client with the first operator's credentials.
func (f *fabric) admin() *tls.Config {
	f.t.Helper()
	c, err := join.LoadCredentials(filepath.Join(f.dir, adminFile))
	if err != nil {
		f.t.Fatal(err)
	}
	config, err := c.TLS()
	if err != nil {
		f.t.Fatal(err)
	}
	config.ServerName = "localhost"
	return config
}

// sync opens a stream, and answers with it once the server said who it is.
func (f *fabric) sync(c *tls.Config) (grpc.BidiStreamingClient[weftv1.SyncRequest, weftv1.SyncResponse], string, error) {
	f.t.Helper()
	s, err := weftv1.NewNodeSyncClient(f.dial(c)).Sync(f.t.Context())
	if err != nil {
		return nil, "", err
	}
	r, err := s.Recv()
	return s, r.GetBackoff().GetReason(), err
}

// Revoke revokes a node alone, as its deletion does beside the rest.
func (a *Authority) Revoke(ctx context.Context, node string) error {
	return a.swap(ctx, func() (store.Txn, error) { return a.Revocation(ctx, node) })
}
