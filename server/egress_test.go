package server

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/join"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/egress"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/members"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	"github.com/weft-net/weft/tunnel"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
)

// gateway is a port with real identities and a real Gate behind it.
type gateway struct {
	*rooms
	t     *testing.T
	mem   *storetest.Memory
	roots *x509.CertPool
	addr  string
	noted int // refusals in the audit before the test began
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	log, mem := slog.New(slog.DiscardHandler), storetest.New()
	dir := t.TempDir()
	auth, err := identity.Open(t.Context(), mem, identity.Config{DataDir: dir, Server: "https://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := listen(t.Context(), "--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rooms{
		Config: Config{DataDir: dir, Log: log, EgressSocket: noSocket, KonnectivitySocket: noSocket}, site: &site{own: members.Own{Name: "s1"}}, auth: auth, mirror: store.NewCache(mem, store.Intent),
		journal:  journal.New(journal.Config{Store: mem}),
		room:     members.New(members.Config{Server: members.Server{Name: "s1"}, Store: mem}),
		services: &services{grpc.NewServer(), health.NewServer()},
		port:     newPort(tcp, auth.TLS(), log),
	}
	r.openEgress()
	if err := r.openFronts(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{
		auth.Run, r.mirror.Run, r.gate.Run, r.port.run, (&endpoint{r.fronts.others, web(r.web, log)}).run,
		func(ctx context.Context) error { return r.fronts.run(ctx, r.port.http) },
	} {
		running.Go(func() { _ = run(ctx) })
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	if err := auth.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	g := &gateway{rooms: r, t: t, mem: mem, roots: x509.NewCertPool(), addr: tcp.Addr().String()}
	g.roots.AppendCertsFromPEM(auth.CertificatePEM())
	return g
}

// node lets a node join, and answers with its certificate.
func (g *gateway) node(name string) []tls.Certificate {
	g.t.Helper()
	token, err := join.LoadToken(filepath.Join(g.DataDir, "agent-token"))
	if err != nil {
		g.t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		g.t.Fatal(err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		g.t.Fatal(err)
	}
	r, err := g.auth.Join(g.t.Context(), &weftv1.JoinRequest{Token: token.Reveal(), Node: name, CertificateRequest: request})
	if err != nil {
		g.t.Fatal(err)
	}
	for _, known := g.auth.Node(name); !known; _, known = g.auth.Node(name) {
		time.Sleep(time.Millisecond)
	}
	return []tls.Certificate{{Certificate: [][]byte{r.GetCertificate()}, PrivateKey: key}}
}

func (g *gateway) admin() []tls.Certificate {
	g.t.Helper()
	c, err := join.LoadCredentials(filepath.Join(g.DataDir, "admin.yaml"))
	if err != nil {
		g.t.Fatal(err)
	}
	config, err := c.TLS()
	if err != nil {
		g.t.Fatal(err)
	}
	return config.Certificates
}

func (g *gateway) dial(config *tls.Config) *tls.Conn {
	g.t.Helper()
	conn, err := tls.Dial("tcp", g.addr, config)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (g *gateway) as(certs []tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: g.roots, NextProtos: []string{"http/1.1"}, Certificates: certs}
}

// tunnel asks for a tunnel.
func (g *gateway) tunnel(certs []tls.Certificate) (*tunnel.Conn, int, string) {
	g.t.Helper()
	h := http.Header{egress.HeaderInstance: {"i1"}, egress.HeaderProtocol: {"1"}}
	c, resp, err := tunnel.Dial(g.t.Context(), g.dial(g.as(certs)), "wss://"+g.addr+pathTunnel, h, tunnel.Config{})
	if err != nil && resp != nil {
		b, _ := io.ReadAll(resp.Body)
		return nil, resp.StatusCode, string(b)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = c.Close() })
	return c, http.StatusSwitchingProtocols, ""
}

// hops hands a dial on, and answers with status and body.
func (g *gateway) hops(config *tls.Config, node string) (int, string) {
	g.t.Helper()
	conn := g.dial(config)
	fmt.Fprintf(conn, "CONNECT 10.42.1.7:80 HTTP/1.1\r\nHost: 10.42.1.7:80\r\n%s: 1\r\n%s: %s\r\nWeft-Dial: d1\r\nWeft-Role: admin\r\n\r\n", egress.HeaderHop, egress.HeaderNode, node)
	r, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodConnect})
	if err != nil {
		g.t.Fatal(err)
	}
	b, _ := io.ReadAll(io.LimitReader(r.Body, 1000))
	return r.StatusCode, string(b)
}

// write makes a node's object, and waits until dials know it.
func (g *gateway) write(node string) {
	g.t.Helper()
	b, err := kind.Encode(kind.Node, kind.Metadata{Name: node}, kind.NodeSpec{})
	if err != nil {
		g.t.Fatal(err)
	}
	if _, err := g.mem.Commit(g.t.Context(), store.Txn{Then: []store.Write{{Key: kind.Key(kind.Node, "", node), Value: b}}}); err != nil {
		g.t.Fatal(err)
	}
	unknown := func() bool {
		_, err := g.gate.Dial(g.t.Context(), egress.Asker{Role: egress.Local}, egress.Request{Host: "10.42.1.7", Port: 80, Node: node})
		return egress.Refused(err).Code != egress.Forbidden
	}
	for unknown() {
		time.Sleep(time.Millisecond)
	}
	_, acts, _ := g.journal.Waiting()
	g.noted = acts
}

// Who may have a tunnel, and who may hand dials on.
func TestWhoMayHaveATunnel(t *testing.T) {
	g := newGateway(t)
	n1 := g.node("n1")
	server := g.auth.DialTLS("s1").Clone()
	server.NextProtos = []string{"http/1.1"}
	shown, err := server.GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		who    string
		certs  []tls.Certificate
		status int
		want   string
	}{
		{"nobody", nil, 401, "needs a client certificate with role node"},
		{"an admin", g.admin(), 403, "the rule: role node"},
		{"a server", []tls.Certificate{*shown}, 403, "the rule: role node"},
		{"a node", n1, 101, ""},
	} {
		if _, status, body := g.tunnel(c.certs); status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s", c.who, status, body)
		}
	}
	if status, body := g.hops(server, "n2"); status != 503 || !strings.Contains(body, "there is no node n2") {
		t.Errorf("a hop to a node that there is not: %d %s", status, body)
	}
	g.write("n2")
	for _, c := range []struct {
		who    string
		config *tls.Config
		status int
		want   string
	}{
		{"nobody", g.as(nil), 403, "role server"},
		{"a node", g.as(n1), 403, "role server"},
		{"an admin", g.as(g.admin()), 403, "role server"},
		{"a server", server, 403, "is no address of node n2"}, // the rules' word
	} {
		if status, body := g.hops(c.config, "n2"); status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("a hop of %s: %d %s", c.who, status, body)
		}
	}
	if _, acts, _ := g.journal.Waiting(); acts != g.noted+1 {
		t.Errorf("%d refusals are in the audit", acts-g.noted)
	}
}

// A node that is revoked loses its tunnel, and gets no other.
func TestRevocationCutsTheTunnel(t *testing.T) {
	g := newGateway(t)
	n1 := g.node("n1")
	c, status, body := g.tunnel(n1)
	if c == nil {
		t.Fatal(status, body)
	}
	txn, err := g.auth.Revocation(t.Context(), "n1")
	if err == nil {
		_, err = g.mem.Commit(t.Context(), txn)
	}
	if err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if _, status, body := g.tunnel(n1); status != http.StatusForbidden || !strings.Contains(body, "it was revoked") {
		t.Errorf("%d %s", status, body)
	}
}
