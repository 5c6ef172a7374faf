package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/store/storetest"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
)

// shared is a port that answers health over gRPC and web over HTTP/1.1.
type shared struct {
	addr  string
	roots *x509.CertPool
	peers chan credentials.AuthInfo
}

func newShared(t *testing.T) *shared {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	auth, err := identity.Open(t.Context(), storetest.New(), identity.Config{DataDir: t.TempDir(), Server: "https://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := listen(t.Context(), "--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &shared{addr: tcp.Addr().String(), roots: x509.NewCertPool(), peers: make(chan credentials.AuthInfo, 100)}
	s.roots.AppendCertsFromPEM(auth.CertificatePEM())
	p := newPort(tcp, auth.TLS(), log)
	g := grpc.NewServer(grpc.Creds(shaken{}), grpc.ConnectionTimeout(handshakeWithin), grpc.KeepaliveParams(keepalive.ServerParameters{}),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			if from, ok := peer.FromContext(ctx); ok {
				s.peers <- from.AuthInfo
			}
			return h(ctx, req)
		}))
	healthv1.RegisterHealthServer(g, health.NewServer())
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = p.run(ctx) })
	running.Go(func() { _ = (&endpoint{p.http, web((&rooms{}).web, log)}).run(ctx) })
	running.Go(func() { _ = (&services{g, health.NewServer()}).run(ctx, p.h2) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		var left error
		for range 10 { // net/http closes connections and does not wait; each look takes up to half a second
			if left = goleak.Find(); left == nil {
				return
			}
		}
		t.Error(left)
	})
	return s
}

func (s *shared) tls(protocols ...string) *tls.Config {
	return &tls.Config{RootCAs: s.roots, ServerName: "127.0.0.1", NextProtos: protocols}
}

// healthy asks for health over gRPC.
func (s *shared) healthy(t *testing.T) {
	t.Helper()
	cc, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(credentials.NewTLS(s.tls())))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if r, err := healthv1.NewHealthClient(cc).Check(ctx, &healthv1.HealthCheckRequest{}); err != nil || r.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", r, err)
	}
}

func TestOnePortForBoth(t *testing.T) {
	s := newShared(t)
	s.healthy(t)
	info, ok := (<-s.peers).(credentials.TLSInfo)
	if !ok || info.State.NegotiatedProtocol != "h2" || info.SecurityLevel != credentials.PrivacyAndIntegrity {
		t.Errorf("gRPC was told %+v", info)
	}
	for _, protocols := range [][]string{{"http/1.1"}, nil} {
		conn, err := tls.Dial("tcp", s.addr, s.tls(protocols...))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		r, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		_ = conn.Close()
		if r.StatusCode != http.StatusNotFound || !strings.Contains(string(body), "speak gRPC") {
			t.Errorf("%d %s", r.StatusCode, body)
		}
	}
}

// h2 is a TLS connection that has said HTTP/2's preface and SETTINGS.
func (s *shared) h2(t *testing.T) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", s.addr, s.tls("h2"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	write(t, conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+h2frame(0, 4, 0, 0, ""))
	return conn
}

func write(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Log(err) // the server may have had enough already
	}
}

// h2frame is RFC 9113, section 4.1. length 0 takes that of the payload.
func h2frame(length uint32, kind, flags byte, stream uint32, payload string) string {
	if length == 0 {
		length = uint32(len(payload))
	}
	b := binary.BigEndian.AppendUint32(nil, length)[1:]
	b = append(b, kind, flags)
	b = binary.BigEndian.AppendUint32(b, stream)
	return string(b) + payload
}

// TestRubbishOnThePort: whatever comes, the port goes on, and nothing is left of
// it when it closes.
func TestRubbishOnThePort(t *testing.T) {
	s := newShared(t)
	raw := func() net.Conn {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	// HEADERS of POST /grpc.health.v1.Health/Check in literals without indexing
	// (RFC 7541, section 6.2.2).
	literal := func(name, value string) string {
		return "\x00" + string(rune(len(name))) + name + string(rune(len(value))) + value
	}
	check := literal(":method", "POST") + literal(":scheme", "https") + literal(":path", "/grpc.health.v1.Health/Check") +
		literal(":authority", "x") + literal("content-type", "application/grpc") + literal("te", "trailers")
	body, err := proto.Marshal(&healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func(){
		"closed at once":               func() { _ = raw().Close() },
		"plain HTTP":                   func() { write(t, raw(), "GET / HTTP/1.1\r\n\r\n") },
		"rubbish":                      func() { write(t, raw(), strings.Repeat("\x00\xff", 10000)) },
		"half a TLS record":            func() { write(t, raw(), "\x16\x03\x01\x40\x00\x01") },
		"a TLS record that is too big": func() { write(t, raw(), "\x16\x03\x01\xff\xff"+strings.Repeat("x", 1<<16)) },
		"TLS and nothing":              func() { _, _ = tls.Dial("tcp", s.addr, s.tls("h2")) },
		"another preface": func() {
			c, err := tls.Dial("tcp", s.addr, s.tls("h2"))
			if err == nil {
				write(t, c, "GET / HTTP/1.1\r\n\r\n")
			}
		},
		"half a frame":        func() { write(t, s.h2(t), h2frame(100, 1, 4, 1, "abc")) },
		"a frame too big":     func() { write(t, s.h2(t), h2frame(1<<24-1, 0, 0, 1, strings.Repeat("x", 1<<17))) },
		"bad HPACK":           func() { write(t, s.h2(t), h2frame(0, 1, 4, 1, "\xff\xff\xff\xff\xff\xff")) },
		"DATA on no stream":   func() { write(t, s.h2(t), h2frame(0, 0, 1, 7, "abc")) },
		"a message cut short": func() { write(t, s.h2(t), h2frame(0, 1, 4, 1, check)+h2frame(0, 0, 1, 1, "\x00\x00\x00\xff\xffabc")) },
		"a message of 4 GiB":  func() { write(t, s.h2(t), h2frame(0, 1, 4, 1, check)+h2frame(0, 0, 0, 1, "\x00\xff\xff\xff\xffabc")) },
		"a compressed message": func() {
			write(t, s.h2(t), h2frame(0, 1, 4, 1, check)+h2frame(0, 0, 1, 1, "\x01\x00\x00\x00"+string(rune(len(body)))+string(body)))
		},
		"not a message": func() {
			write(t, s.h2(t), h2frame(0, 1, 4, 1, check)+h2frame(0, 0, 1, 1, "\x00\x00\x00\x00\x02\xff\xff"))
		},
		"a header without end": func() { write(t, s.h2(t), h2frame(0, 1, 0, 1, check)) },
		"long header on http": func() {
			c, _ := tls.Dial("tcp", s.addr, s.tls())
			write(t, c, "GET / HTTP/1.1\r\nx: "+strings.Repeat("y", 1<<17))
		},
		"half a request on http": func() { c, _ := tls.Dial("tcp", s.addr, s.tls()); write(t, c, "GET / HT") },
	} {
		t.Run(name, func(t *testing.T) {
			do()
			s.healthy(t)
		})
	}
}

func TestManyHalfOpenConnections(t *testing.T) {
	s := newShared(t)
	for range 200 {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	s.healthy(t)
}

func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := open(t.Context(), "--metrics-listen", l.Addr().String(), nil); err == nil || !strings.Contains(err.Error(), "--metrics-listen "+l.Addr().String()+" is in use by another process") {
		t.Error(err)
	}
	if _, err := listen(t.Context(), "--listen", "192.0.2.77:0"); err == nil || !strings.Contains(err.Error(), "is no address of this machine") {
		t.Error(err)
	}
	if e, err := open(t.Context(), "--metrics-listen", "", nil); e != nil || err != nil || e.run(t.Context()) != nil {
		t.Error(e, err)
	}
}

// TestAddressesAreReadFirst: before anything is written.
func TestAddressesAreReadFirst(t *testing.T) {
	good := Config{DataDir: "/nonexistent", Listen: "127.0.0.1:0", Metrics: "localhost:7446"}
	for _, tt := range []struct {
		name string
		with func(*Config)
		want string
	}{
		{"OK", func(*Config) {}, ""},
		{"OK none but one", func(c *Config) { c.Metrics = "" }, ""},
		{"OK names", func(c *Config) { c.TLSSANs = []string{"Fabric.example.", "*.example", "2001:db8::1", "[::1]"} }, ""},
		{"bad name", func(c *Config) { c.TLSSANs = []string{"a_b"} }, "server: --tls-san \"a_b\" is not a name; accepted: a-z, 0-9, - and . between them, or an address"},
		{"bad none", func(c *Config) { c.Listen = "" }, "server: --listen \"\" is no address with a port, such as 0.0.0.0:7443"},
		{"bad form", func(c *Config) { c.Metrics = "7446" }, "server: --metrics-listen \"7446\" is no address with a port, such as localhost:7446"},
		{"bad port", func(c *Config) { c.Debug = "[::1]:65536" }, "server: --debug-listen \"[::1]:65536\" is no address with a port, such as localhost:7448"},
	} {
		c := good
		tt.with(&c)
		if err := c.validate(); (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
