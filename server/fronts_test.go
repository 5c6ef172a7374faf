package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/server/egress"
	"github.com/weft-net/weft/server/egress/connect"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/store/storetest"
)

// echoes is a connect.Dialer whose targets send back what they are sent.
type echoes struct{ asked chan string }

// Dial implements connect.Dialer.
func (e echoes) Dial(_ context.Context, by egress.Asker, to egress.Request) (egress.Conn, error) {
	e.asked <- strings.TrimSpace(by.Role+" "+by.User) + " " + to.String()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	far, err := l.Accept()
	if err != nil {
		return nil, err
	}
	go func() { _, _ = io.Copy(far, far); _ = far.Close() }()
	return near.(*net.TCPConn), nil
}

// Over the TLS port a certificate says who dials, and the rules who may; what is no
// dial goes to net/http, with the certificate that was shown.
func TestDialsOverTLS(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	auth, err := identity.Open(t.Context(), storetest.New(), identity.Config{DataDir: t.TempDir(), Server: "https://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := listen(t.Context(), "--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = auth.Run(ctx) })
	if err := auth.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 1)
	r := &rooms{auth: auth, port: newPort(tcp, auth.TLS(), log)}
	f := &fronts{others: newQueue(tcp.Addr())}
	f.tls = connect.New(connect.Config{Dialer: echoes{asked}, Who: r.guest, Others: f.hand})
	saw := func(w http.ResponseWriter, req *http.Request) {
		who := "nobody"
		if req.TLS != nil && len(req.TLS.PeerCertificates) > 0 {
			who = req.TLS.PeerCertificates[0].Subject.CommonName
		}
		_, _ = io.WriteString(w, req.Method+" "+req.URL.Path+" by "+who)
	}
	running.Go(func() { _ = r.port.run(ctx) })
	running.Go(func() { _ = f.run(ctx, r.port.http) })
	running.Go(func() { _ = (&endpoint{f.others, web(saw, log)}).run(ctx) })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(auth.CertificatePEM())
	certificates := map[string]tls.Certificate{}
	for _, c := range []struct{ role, protocol, sent, status, body, asked string }{
		{"dialer", "", "CONNECT 10.42.1.5:80 HTTP/1.1\r\nHost: x\r\n\r\necho", "200 Connection established", "echo", "dialer a-dialer 10.42.1.5:80"},
		{"operator", "http/1.1", "CONNECT n1:22 HTTP/1.1\r\nHost: x\r\n\r\necho", "200 Connection established", "echo", "operator a-operator n1:22"},
		{"viewer", "http/1.1", "CONNECT n1:22 HTTP/1.1\r\nHost: x\r\n\r\n", "403 viewer a-viewer may not call /weft.v1.Egress/Dial; the rule: role dialer or operator or admin", "viewer a-viewer may", ""},
		{"", "", "CONNECT n1:22 HTTP/1.1\r\nHost: x\r\n\r\n", "403 /weft.v1.Egress/Dial needs a client certificate with role dialer", "/weft.v1", ""},
		{"viewer", "http/1.1", "GET /v1/tunnel HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200 OK", "GET /v1/tunnel by a-viewer", ""},
		{"", "", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200 OK", "GET / by nobody", ""},
		{"dialer", "", "CONNECT n1:22 HTTP/1.1\r\nHost: x\r\nWeft-Hop: 1\r\nWeft-Dial: d\r\n\r\n", "200 OK", "CONNECT  by a-dialer", ""},
	} {
		config := &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
		if c.protocol != "" {
			config.NextProtos = []string{c.protocol}
		}
		if c.role != "" {
			if _, made := certificates[c.role]; !made {
				certificates[c.role] = certified(t, auth, c.role)
			}
			config.Certificates = []tls.Certificate{certificates[c.role]}
		}
		conn, err := tls.Dial("tcp", tcp.Addr().String(), config)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.WriteString(conn, c.sent); err != nil {
			t.Error(err)
		}
		in := bufio.NewReader(conn)
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(c.sent, err)
		}
		if !strings.HasPrefix(answer.Status, c.status) {
			t.Errorf("%s %q: %s, want %s", c.role, c.sent, answer.Status, c.status)
		}
		b := make([]byte, len(c.body))
		if _, err := io.ReadFull(answer.Body, b); err != nil || string(b) != c.body {
			t.Errorf("%s %q: %q, %v", c.role, c.sent, b, err)
		}
		if c.asked != "" {
			if got := <-asked; got != c.asked {
				t.Errorf("%s was asked, want %s", got, c.asked)
			}
		}
		_ = conn.Close()
	}
}

// certified makes a user of a role, whose name is a- and the role.
func certified(t *testing.T, auth *identity.Authority, role string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "a-" + role}}, key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := auth.CreateUser(t.Context(), identity.UserSpec{Name: "a-" + role, Role: role}, request)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{made.Certificate}, PrivateKey: key}
}

func TestFrontsRefused(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		c    Config
		want string
	}{
		{Config{EgressSocket: "/s", KonnectivitySocket: "/s"}, "--egress-socket and --konnectivity-socket are both /s; they speak different protocols"},
		{Config{DataDir: dir, KonnectivitySocket: filepath.Join(dir, "egress.sock")}, "are both " + dir},
		{Config{EgressSocket: "none", KonnectivitySocket: "none"}, ""},
		{Config{DataDir: dir}, ""},
	} {
		err := c.c.validateFronts()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %s", c.c, err, c.want)
		}
	}
}

// A socket that nobody asked for by name is not worth the server.
func TestLongSocketPath(t *testing.T) {
	var said bytes.Buffer
	tcp, err := listen(t.Context(), "--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	long := filepath.Join(t.TempDir(), strings.Repeat("d", 100))
	r := &rooms{Config: Config{DataDir: long, Log: slog.New(slog.NewTextHandler(&said, nil))}, port: &port{tcp: tcp}}
	if err := r.openFronts(); err != nil || r.fronts.socket != nil || !strings.Contains(said.String(), "choose a shorter one with --egress-socket") {
		t.Error(err, said.String())
	}
	r.EgressSocket = filepath.Join(long, "s")
	if err := r.openFronts(); err == nil || !strings.Contains(err.Error(), "--egress-socket") {
		t.Error(err)
	}
}
