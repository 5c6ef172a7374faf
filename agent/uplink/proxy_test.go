package uplink

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/agent/proxy"
	"github.com/weft-net/weft/agent/uplink/uplinktest"
)

// behind puts a proxy between a node and its servers, which the node cannot resolve.
// answer is asked at each CONNECT, and lets it through or says what is answered
// before the proxy hangs up.
func behind(t *testing.T, n *node, f *uplinktest.Fabric, answer func(*http.Request) (through bool, no string)) (asked *atomic.Int32) {
	t.Helper()
	env, err := proxy.FromEnvironment(func(name string) string {
		return map[string]string{"HTTPS_PROXY": "http://ops:hunter2@p:3128"}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	asked = new(atomic.Int32)
	n.cfg.Proxy = env.For
	n.cfg.Resolve = func(context.Context, string) ([]string, error) { return nil, errors.New("no such host") }
	n.order = newOrder("n1", []string{"servers.example:7443"}, nil)
	n.cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
		if addr != "p:3128" {
			return nil, errors.New("the node went to " + addr)
		}
		asked.Add(1)
		ours, theirs := net.Pipe()
		go serveProxy(theirs, f, answer)
		return ours, nil
	}
	return asked
}

func serveProxy(conn net.Conn, f *uplinktest.Fabric, answer func(*http.Request) (bool, string)) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	asked, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	if through, no := answer(asked); !through {
		_, _ = io.WriteString(conn, no)
		return
	}
	server, err := f.Dial(context.Background(), asked.RequestURI)
	if err != nil {
		return
	}
	defer server.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() {
		defer server.Close()
		defer conn.Close()
		_, _ = io.Copy(server, r)
	}()
	_, _ = io.Copy(conn, server)
}

// TestBehindAProxy: all that the agent has to say goes through it, under the name
// that the operator gave.
func TestBehindAProxy(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
		asked := behind(t, n, f, func(r *http.Request) (bool, string) {
			if r.Method != http.MethodConnect || r.RequestURI != "servers.example:7443" || r.Header.Get("Proxy-Authorization") != "Basic b3BzOmh1bnRlcjI=" {
				t.Errorf("asked %s %s %v", r.Method, r.RequestURI, r.Header)
			}
			return true, ""
		})
		defer n.start(ctx, t)()
		s := <-f.Streams
		s.Tell(t, "e1", 7, "n1", "n2")
		<-n.changed
		if st := n.Status(); st.Server != "servers.example:7443" || st.Proxy != "http://p:3128" {
			t.Errorf("status: %s through %s", st.Server, st.Proxy)
		}
		if asked.Load() != 2 { // to join, and for the stream
			t.Errorf("the proxy was asked %d times", asked.Load())
		}
		if trusted, err := n.Greet(ctx, "servers.example:7443"); err != nil || trusted == "" {
			t.Errorf("greeted: %q, %v", trusted, err)
		}
	})
}

// TestProxyRefuses: one that says no is a problem at once, with what to do, and is
// not asked again and again.
func TestProxyRefuses(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
		var good atomic.Bool
		asked := behind(t, n, f, func(*http.Request) (bool, string) {
			return good.Load(), "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
		})
		defer n.start(ctx, t)()
		synctest.Wait()
		ps := n.Problems()
		if len(ps) != 1 || !strings.Contains(ps[0].Cause, "http://p:3128 to server servers.example:7443: 407") || !strings.Contains(ps[0].Remedy, "HTTPS_PROXY") {
			t.Fatalf("problems: %+v", ps)
		}
		if strings.Contains(ps[0].Cause+ps[0].Remedy, "hunter2") {
			t.Error("the password is told")
		}
		time.Sleep(5 * time.Minute)
		if n := asked.Load(); n < 7 || n > 11 {
			t.Errorf("the proxy was asked %d times in 5 min", n)
		}
		good.Store(true)
		<-f.Streams
	})
}

// TestProxyHangs: a proxy that says nothing is left after 6 s, one that closes at
// once; both are tried again.
func TestProxyHangs(t *testing.T) {
	for _, tt := range []struct {
		name string
		hang bool
		want string
	}{
		{"says nothing", true, "no answer to CONNECT"},
		{"closes", false, "the connection was closed instead of an answer to CONNECT"},
	} {
		in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
			n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
			asked := behind(t, n, f, func(*http.Request) (bool, string) {
				if tt.hang {
					<-ctx.Done()
				}
				return false, ""
			})
			stop := n.start(ctx, t)
			time.Sleep(30 * time.Second)
			if err := n.Status().Err; err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v", tt.name, err)
			}
			if n := asked.Load(); n < 4 {
				t.Errorf("%s: asked %d times in 30 s", tt.name, n)
			}
			stop()
		})
	}
}

// TestRenewalWhileAllServersAskForPeace: there is nobody to ask, which is an error
// and no crash.
func TestRenewalWhileAllServersAskForPeace(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
		n.order.hold("192.0.2.1:7443", time.Now().Add(time.Minute))
		if err := n.enrol(ctx, n.identity()); !errors.Is(err, errAllHeld) {
			t.Errorf("%v", err)
		}
		n.dir.Close()
	})
}
