package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/integration/lab"
	"github.com/weft-net/weft/proto/join"
	"golang.org/x/sys/unix"
)

// TestBadFrames sends what nobody should to every socket of a real server and a
// real agent. The connection ends within a bounded time, and those who behave do
// not notice.
func TestBadFrames(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	bin, err := filepath.Abs("../bin")
	if err != nil {
		t.Fatal(err)
	}
	f, err := lab.NewFabric(ctx, bin, lab.Layout{Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := f.StartServer(ctx, "--konnectivity-socket", filepath.Join(f.ServerDir(), "k.sock")); err != nil {
		t.Fatal(err)
	}
	if err := f.StartAgent(ctx, f.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	if err := f.InStep(ctx, 1); err != nil {
		t.Fatal(err)
	}
	started := f.Agents["n1"].Pid()
	for name, dial := range sockets(t, f) {
		for what, bytes := range rubbish() {
			began := time.Now()
			answer, err := send(dial, bytes, true)
			took := time.Since(began)
			if took > 20*time.Second {
				t.Errorf("%s, %s: the connection ended after %v", name, what, took)
			}
			if strings.HasSuffix(name, "cni.sock") && err == nil && !strings.Contains(answer, `"code"`) {
				t.Errorf("%s, %s: answered %q, which is no error", name, what, answer)
			}
			t.Logf("%s, %s: %.80q, %v after %v", name, what, answer, err, took.Round(time.Millisecond))
		}
	}
	stalled(t, f)
	pod, err := f.NewPod(ctx, f.Nodes[0], "after", nil)
	if err != nil {
		t.Fatalf("a pod after all that: %v", err)
	}
	if err := pod.Del(ctx); err != nil {
		t.Error(err)
	}
	if err := f.InStep(ctx, 1); err != nil {
		t.Error(err)
	}
	if out, err := f.Weft(ctx, "status"); err != nil || f.Agents["n1"].Pid() != started {
		t.Errorf("%v\n%s", err, out)
	}
	for _, p := range []*lab.Process{f.ServerProcesses["s1"], f.Agents["n1"]} {
		select {
		case <-p.Done():
			t.Errorf("%s ended: %s", p.Name, p.Tail(20))
		default:
			if log := p.Tail(1000); strings.Contains(log, "panic") {
				t.Errorf("%s: %s", p.Name, log)
			}
		}
	}
}

// stalled sends the beginning of something and then nothing, everywhere at once.
func stalled(t *testing.T, f *lab.Fabric) {
	t.Helper()
	var all sync.WaitGroup
	for name, dial := range sockets(t, f) {
		for what, bytes := range rubbish() {
			if !strings.Contains(what, "half a") && !strings.Contains(what, "a half") && what != "nothing" || strings.Contains(what, "frame") {
				continue // after a whole preface it is a client that rests
			}
			all.Go(func() {
				began := time.Now()
				_, err := send(dial, bytes, false)
				if took := time.Since(began); took > patience/2 {
					t.Errorf("%s, %s and then nothing: the connection ended after %v: %v", name, what, took, err)
				}
			})
		}
	}
	all.Wait()
}

type dialer func() (net.Conn, error)

// dialIn connects to the server's port from within its namespace.
func dialIn(h *lab.Host) (net.Conn, error) {
	runtime.LockOSThread() // the thread dies with the goroutine if it cannot go home
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer home.Close()
	there, err := os.Open(h.Path())
	if err != nil {
		return nil, err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	c, err := net.Dial("tcp", "127.0.0.1:7443")
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	runtime.UnlockOSThread()
	return c, err
}

// sockets are all that listen. TLS is that of somebody without a certificate, and
// of an operator.
func sockets(t *testing.T, f *lab.Fabric) map[string]dialer {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(f.ServerDir(), "admin.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	admin, err := join.ParseCredentials(b)
	if err != nil {
		t.Fatal(err)
	}
	own, err := tls.X509KeyPair(admin.Cert, []byte(admin.Key.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(admin.CA)
	over := func(proto string, certs ...tls.Certificate) dialer {
		return func() (net.Conn, error) {
			c, err := dialIn(f.Server)
			if err != nil {
				return nil, err
			}
			return tls.Client(c, &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{proto}, Certificates: certs}), nil
		}
	}
	local := func(name string) dialer {
		path := filepath.Join(f.Nodes[0].Dir(), "run", name)
		return func() (net.Conn, error) { return net.Dial("unix", path) }
	}
	front := func(name string) dialer {
		path := filepath.Join(f.ServerDir(), name)
		return func() (net.Conn, error) { return net.Dial("unix", path) }
	}
	return map[string]dialer{
		"TCP 7443":                    func() (net.Conn, error) { return dialIn(f.Server) },
		"TLS 7443 h2":                 over("h2"),
		"TLS 7443 h2, operator":       over("h2", own),
		"TLS 7443 http/1.1":           over("http/1.1"),
		"TLS 7443 http/1.1, operator": over("http/1.1", own),
		"s1's egress.sock":            front("egress.sock"),
		"s1's k.sock":                 front("k.sock"),
		"TLS 7443 other ALPN":         over("weft/0"),
		"n1's agent.sock":             local("agent.sock"),
		"n1's cni.sock":               local("cni.sock"),
	}
}

// rubbish is what is sent, by its name.
func rubbish() map[string][]byte {
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	frame := func(length uint32, kind, flags byte, stream uint32, body string) string { // RFC 9113, section 4.1
		head := binary.BigEndian.AppendUint32(nil, length)[1:]
		head = append(head, kind, flags)
		return string(binary.BigEndian.AppendUint32(head, stream)) + body
	}
	settings := frame(0, 4, 0, 0, "")
	many := strings.Repeat(frame(0, 4, 0, 0, ""), 5000)
	return map[string][]byte{
		"nothing":                    {},
		"a half TLS record":          []byte("\x16\x03\x01\x02\x00\x01"),
		"a TLS record too large":     []byte("\x16\x03\x01\xff\xff" + strings.Repeat("x", 1<<16)),
		"zeros":                      make([]byte, 1<<20),
		"a half preface":             []byte(preface[:10]),
		"a half frame":               []byte(preface + settings + "\x00\x00\x10\x00"),
		"an oversized frame":         []byte(preface + settings + frame(1<<24-1, 0, 0, 1, strings.Repeat("y", 1<<17))),
		"headers that are none":      []byte(preface + settings + frame(8, 1, 4, 1, "\xff\xff\xff\xff\xff\xff\xff\xff")),
		"data without a stream":      []byte(preface + settings + frame(5, 0, 1, 99, "\x00\xff\xff\xff\xff")),
		"a flood of settings":        []byte(preface + many),
		"a half request":             []byte("GET /v1/tunnel HTTP/1.1\r\nHost:"),
		"a request with long header": []byte("GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("z", 2<<20) + "\r\n\r\n"),
		"a CONNECT without port":     []byte("CONNECT n1 HTTP/1.1\r\nHost: x\r\n\r\n"),
		"a CONNECT of 64 KB":         []byte("CONNECT " + strings.Repeat("a", 1<<16) + ":1 HTTP/1.1\r\nHost: x\r\n\r\n"),
		"a CONNECT with credentials": []byte("CONNECT ann:pw@n1:10250 HTTP/1.1\r\nHost: x\r\n\r\n"),
		"a half CONNECT":             []byte("CONNECT n1:10250 HTTP/1.1\r\nHost:"),
		"a CONNECT to metadata":      []byte("CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: x\r\n\r\n"),
		"a forged hop":               []byte("CONNECT n1:10250 HTTP/1.1\r\nHost: x\r\nWeft-Hop: 1\r\nWeft-Dial: d\r\nWeft-Node: n1\r\nWeft-Role: admin\r\n\r\n"),
		"a body without end":         []byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nabc"),
		"half a document":            []byte(`{"version":1,"verb":"ADD","containerID":"x`),
		"another document":           []byte(`{"version":99,"verb":"ADD"}`),
		"a document of wrong types":  []byte(`{"version":"1","verb":["ADD"]}`),
		"a document without end":     []byte(`{"version":1,"verb":"ADD","args":"` + strings.Repeat("a", 2<<20)),
		"a document nested deep":     []byte(strings.Repeat("[", 1<<20)),
	}
}

// send writes, closes that direction if asked to, and reads what comes until the
// other end has had enough.
func send(dial dialer, b []byte, done bool) (answer string, err error) {
	c, err := dial()
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience * 2 / 3)); err != nil {
		return "", err
	}
	written := make(chan error, 1)
	go func() {
		_, err := c.Write(b)
		if half, ok := c.(interface{ CloseWrite() error }); ok && err == nil && done {
			err = half.CloseWrite()
		}
		written <- err
	}()
	out, err := io.ReadAll(io.LimitReader(c, 1<<16))
	c.Close()
	if werr := <-written; err == nil && werr != nil {
		err = fmt.Errorf("write: %w", werr)
	}
	return string(out), err
}
