package uplinktest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/line"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// Fabric is a scripted server: a CA, Join, and streams that a test drives.
type Fabric struct {
	weftv1.UnimplementedJoinServer
	weftv1.UnimplementedNodeSyncServer

	Token join.Token
	Life  time.Duration // of node certificates
	// OnlyGRPC is a server of a release that knows no lines; set before Serve.
	OnlyGRPC bool
	Refuse   error        // what Join and Renew answer, if anything; set before Serve
	Streams  chan *Stream // as agents open them
	Tunnels  chan *Tunnel // as agents open them

	t   *testing.T
	key *ecdsa.PrivateKey
	ca  *x509.Certificate

	mu     sync.Mutex
	no     http.HandlerFunc // answers GET /v1/tunnel instead of a tunnel; nil: none does
	l      *bufconn.Listener
	cut    bool // packets vanish: dials hang
	joins  int
	renews int
	dials  []time.Time
}

// New makes a fabric with a CA and a token. It does not serve yet.
func New(t *testing.T) *Fabric {
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
	return &Fabric{t: t, key: key, ca: ca, Token: join.NewToken(ca), Life: 24 * time.Hour, Streams: make(chan *Stream, 16), Tunnels: make(chan *Tunnel, 16)}
}

func (f *Fabric) sign(pub any, name string, usage x509.ExtKeyUsage, life time.Duration) []byte {
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

// Serve runs the server in memory, where Dial finds it, until ctx ends.
func (f *Fabric) Serve(ctx context.Context) {
	l := bufconn.Listen(1 << 20)
	f.mu.Lock()
	f.l = l
	f.mu.Unlock()
	f.ServeOn(ctx, l)
}

// ServeOn runs the server on any listener until ctx ends.
func (f *Fabric) ServeOn(ctx context.Context, l net.Listener) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	cert := f.sign(&key.PublicKey, "server", x509.ExtKeyUsageServerAuth, 365*24*time.Hour)
	roots := x509.NewCertPool()
	roots.AddCert(f.ca)
	d := &door{fabric: f, standing: make(chan net.Conn), web: make(chan net.Conn), ctx: ctx, tls: &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert, f.ca.Raw}, PrivateKey: key}},
		ClientAuth:   tls.VerifyClientCertIfGiven, ClientCAs: roots, MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2", "http/1.1"},
	}}
	if !f.OnlyGRPC {
		d.tls.NextProtos = []string{line.Protocol, "h2", "http/1.1"}
	}
	f.serveTunnels(ctx, side{d})
	s := grpc.NewServer() // whose connections have done their handshake
	weftv1.RegisterJoinServer(s, f)
	weftv1.RegisterNodeSyncServer(s, f)
	go func() { _ = s.Serve(d) }()
	go d.serve(l)
	context.AfterFunc(ctx, func() { _ = l.Close(); s.Stop() })
}

// Dial is the network between, whatever the address.
func (f *Fabric) Dial(ctx context.Context, _ string) (net.Conn, error) {
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

// Cut makes packets vanish, or no longer.
func (f *Fabric) Cut(cut bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = cut
}

// IsCut tells whether packets vanish.
func (f *Fabric) IsCut() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cut
}

// Down makes dials be refused, until up.
func (f *Fabric) Down() (up func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.l
	f.l = nil
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.l = l
	}
}

// Dials tells when each dial began.
func (f *Fabric) Dials() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.dials)
}

// RefuseFrom makes Join and Renew answer an error from now on.
func (f *Fabric) RefuseFrom(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Refuse = err
}

// Counts tells how many calls of Join and Renew came.
func (f *Fabric) Counts() (joins, renews int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.joins, f.renews
}

// Join implements the service.
func (f *Fabric) Join(_ context.Context, r *weftv1.JoinRequest) (*weftv1.JoinResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.joins++; f.Refuse != nil {
		return nil, f.Refuse
	}
	if r.GetToken() != f.Token.Reveal() {
		return nil, status.Error(codes.PermissionDenied, "unknown token")
	}
	csr, err := x509.ParseCertificateRequest(r.GetCertificateRequest())
	if err != nil || csr.CheckSignature() != nil {
		return nil, status.Error(codes.InvalidArgument, "certificate request")
	}
	return &weftv1.JoinResponse{Certificate: f.sign(csr.PublicKey, r.GetNode(), x509.ExtKeyUsageClientAuth, f.Life), Roots: [][]byte{f.ca.Raw}}, nil
}

// Renew implements the service.
func (f *Fabric) Renew(_ context.Context, r *weftv1.RenewRequest) (*weftv1.RenewResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.renews++; f.Refuse != nil {
		return nil, f.Refuse
	}
	csr, err := x509.ParseCertificateRequest(r.GetCertificateRequest())
	if err != nil || csr.CheckSignature() != nil {
		return nil, status.Error(codes.InvalidArgument, "certificate request")
	}
	return &weftv1.RenewResponse{Certificate: f.sign(csr.PublicKey, r.GetNode(), x509.ExtKeyUsageClientAuth, f.Life), Roots: [][]byte{f.ca.Raw}}, nil
}
