package uplink

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/join"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// fabric is a scripted server: a CA, Join, and streams that a test drives.
type fabric struct {
	weftv1.UnimplementedJoinServer
	weftv1.UnimplementedNodeSyncServer
	t     *testing.T
	key   *ecdsa.PrivateKey
	ca    *x509.Certificate
	token join.Token
	life  time.Duration // of node certificates

	mu      sync.Mutex
	l       *bufconn.Listener
	cut     bool // packets vanish: dials hang
	joins   int
	renews  int
	refuse  error
	streams chan *stream
	dials   []time.Time
}

type stream struct {
	grpc.BidiStreamingServer[weftv1.SyncRequest, weftv1.SyncResponse]
	hello *weftv1.Hello
	up    chan *weftv1.SyncRequest // all but heartbeats
	beats chan *weftv1.Heartbeat
	end   chan error
}

func newFabric(t *testing.T) *fabric {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * 365 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &fabric{t: t, key: key, ca: ca, token: join.NewToken(ca), life: 24 * time.Hour, streams: make(chan *stream, 16)}
}

func (f *fabric) sign(pub any, name string, usage x509.ExtKeyUsage, life time.Duration) []byte {
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Second), NotAfter: time.Now().Add(life), ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, f.ca, pub, f.key)
	if err != nil {
		f.t.Error(err)
	}
	return der
}

// serve runs the server until ctx ends.
func (f *fabric) serve(ctx context.Context) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	cert := f.sign(&key.PublicKey, "server", x509.ExtKeyUsageServerAuth, 365*24*time.Hour)
	roots := x509.NewCertPool()
	roots.AddCert(f.ca)
	creds := credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert, f.ca.Raw}, PrivateKey: key}},
		ClientAuth:   tls.VerifyClientCertIfGiven, ClientCAs: roots, MinVersion: tls.VersionTLS13,
	})
	s := grpc.NewServer(grpc.Creds(creds))
	weftv1.RegisterJoinServer(s, f)
	weftv1.RegisterNodeSyncServer(s, f)
	l := bufconn.Listen(1 << 20)
	f.mu.Lock()
	f.l = l
	f.mu.Unlock()
	go func() { _ = s.Serve(l) }()
	context.AfterFunc(ctx, s.Stop)
}

// dial is the network between.
func (f *fabric) dial(ctx context.Context, _ string) (net.Conn, error) {
	f.mu.Lock()
	l, cut := f.l, f.cut
	f.dials = append(f.dials, time.Now())
	f.mu.Unlock()
	if cut {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if l == nil {
		return nil, errors.New("connection refused")
	}
	return l.DialContext(ctx)
}

func (f *fabric) setCut(cut bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = cut
}

func (f *fabric) counts() (joins, renews int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.joins, f.renews
}

func (f *fabric) Join(_ context.Context, r *weftv1.JoinRequest) (*weftv1.JoinResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.joins++; f.refuse != nil {
		return nil, f.refuse
	}
	if r.GetToken() != f.token.Reveal() {
		return nil, status.Error(codes.PermissionDenied, "unknown token")
	}
	csr, err := x509.ParseCertificateRequest(r.GetCertificateRequest())
	if err != nil || csr.CheckSignature() != nil {
		return nil, status.Error(codes.InvalidArgument, "certificate request")
	}
	return &weftv1.JoinResponse{Certificate: f.sign(csr.PublicKey, r.GetNode(), x509.ExtKeyUsageClientAuth, f.life), Roots: [][]byte{f.ca.Raw}}, nil
}

func (f *fabric) Renew(_ context.Context, r *weftv1.RenewRequest) (*weftv1.RenewResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.renews++; f.refuse != nil {
		return nil, f.refuse
	}
	csr, err := x509.ParseCertificateRequest(r.GetCertificateRequest())
	if err != nil || csr.CheckSignature() != nil {
		return nil, status.Error(codes.InvalidArgument, "certificate request")
	}
	return &weftv1.RenewResponse{Certificate: f.sign(csr.PublicKey, r.GetNode(), x509.ExtKeyUsageClientAuth, f.life), Roots: [][]byte{f.ca.Raw}}, nil
}

func (f *fabric) Sync(g grpc.BidiStreamingServer[weftv1.SyncRequest, weftv1.SyncResponse]) error {
	first, err := g.Recv()
	if err != nil {
		return err
	}
	s := &stream{g, first.GetHello(), make(chan *weftv1.SyncRequest, 100), make(chan *weftv1.Heartbeat, 100), make(chan error, 1)}
	go func() {
		for {
			m, err := g.Recv()
			if err != nil {
				return
			}
			if m.GetHeartbeat() == nil {
				select {
				case s.up <- m:
				case <-g.Context().Done():
				}
				continue
			}
			select {
			case s.beats <- m.GetHeartbeat():
			default: // nobody counts them
			}
		}
	}()
	select {
	case f.streams <- s:
	case <-g.Context().Done():
	}
	select {
	case err := <-s.end:
		return err
	case <-g.Context().Done():
		return nil
	}
}

// beat sends heartbeats as a server does, until the stream or the test ends.
func (s *stream) beat(ctx context.Context) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.Context().Done():
			return
		case <-tick.C:
			_ = s.Send(&weftv1.SyncResponse{Message: &weftv1.SyncResponse_Heartbeat{Heartbeat: &weftv1.Heartbeat{}}})
		}
	}
}

// tell sends a full set of peers and completes it.
func (s *stream) tell(t *testing.T, epoch string, rev int64, peers ...string) {
	t.Helper()
	msgs := []*weftv1.SyncResponse{msgBegin(), msgSet(intent.CollectionCluster, intent.KeyCluster, intent.EncodeCluster(intent.Cluster{Backend: intent.VXLAN}))}
	for _, p := range peers {
		msgs = append(msgs, msgPeer(p))
	}
	s.say(t, append(msgs, msgEnd(), msgComplete(epoch, rev))...)
}

func (s *stream) say(t *testing.T, msgs ...*weftv1.SyncResponse) {
	t.Helper()
	for _, m := range msgs {
		if err := s.Send(m); err != nil {
			t.Errorf("server: send: %v", err)
		}
	}
}

func msgBegin() *weftv1.SyncResponse { return msgReplace(weftv1.ReplaceAll_PHASE_BEGIN) }
func msgEnd() *weftv1.SyncResponse   { return msgReplace(weftv1.ReplaceAll_PHASE_END) }

func msgReplace(p weftv1.ReplaceAll_Phase) *weftv1.SyncResponse {
	return &weftv1.SyncResponse{Message: &weftv1.SyncResponse_ReplaceAll{ReplaceAll: &weftv1.ReplaceAll{Phase: p}}}
}

func msgSet(collection, key string, value []byte) *weftv1.SyncResponse {
	return &weftv1.SyncResponse{Message: &weftv1.SyncResponse_Set{Set: &weftv1.Set{Collection: collection, Key: key, Revision: 1, Value: value}}}
}

func msgPeer(name string) *weftv1.SyncResponse {
	return msgSet(intent.CollectionPeers, intent.PeerKey(name), intent.EncodePeer(intent.Peer{Name: name}))
}

func msgDelete(collection, key string) *weftv1.SyncResponse {
	return &weftv1.SyncResponse{Message: &weftv1.SyncResponse_Delete{Delete: &weftv1.Delete{Collection: collection, Key: key}}}
}

func msgComplete(epoch string, rev int64) *weftv1.SyncResponse {
	return &weftv1.SyncResponse{Message: &weftv1.SyncResponse_Complete{Complete: &weftv1.Complete{Epoch: epoch, Revision: rev, CompileVersion: intent.CompileVersion}}}
}

// node is an agent's uplink under test.
type node struct {
	*Uplink
	changed chan struct{}
	dir     *datadir.Dir
}

func (f *fabric) config(node string, changed chan struct{}) Config {
	return Config{
		Node: node, Servers: []string{"192.0.2.1:7443"}, Log: slog.New(slog.DiscardHandler), Dial: f.dial,
		Token:    func() (join.Token, error) { return f.token, nil },
		OnChange: func() { changed <- struct{}{} },
	}
}

func (f *fabric) node(dir string) *node {
	f.t.Helper()
	d, err := datadir.Open(dir)
	if err != nil {
		f.t.Fatal(err)
	}
	changed := make(chan struct{}, 100)
	u, err := New(d, f.config("n1", changed))
	if err != nil {
		f.t.Fatal(err)
	}
	u.SetReport(Report{Underlay: []intent.Underlay{{Addr: netip.MustParsePrefix("10.0.0.11/24"), Device: "eth0", MTU: 1500}}, VTEP: u.VTEP()})
	return &node{u, changed, d}
}

// start runs the uplink; the function returned stops it and lets go of the folder.
func (n *node) start(ctx context.Context, t *testing.T) func() {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		n.dir.Close()
	}
}
