package egress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/tunnel"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSplice(t *testing.T) {
	f := join(t, nil)
	s := f.must(target(t, echo))
	big := bytes.Repeat([]byte("weft"), 1<<20)
	go func() {
		_, _ = s.Write(big)
		_ = s.CloseWrite()
	}()
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, big) {
		t.Fatalf("%d of %d bytes came back, %v", len(got), len(big), err)
	}
	f.drained()
	if c := f.agent.Counts(); c.Dials[Connected] != 1 || c.BytesForth != uint64(len(big)) || c.BytesBack != uint64(len(big)) {
		t.Errorf("counted %+v", c)
	}
}

// Each direction ends by itself: a client that has said all still gets its answer,
// and a target that has said all still hears.
func TestHalfClose(t *testing.T) {
	f := join(t, nil)
	answer := target(t, func(c *net.TCPConn) {
		all, _ := io.ReadAll(c)
		fmt.Fprintf(c, "%d bytes", len(all))
	})
	s := f.must(answer)
	if _, err := s.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(s); string(got) != "5 bytes" {
		t.Errorf("a client that ended first got %q, %v", got, err)
	}
	heard := make(chan string, 1)
	first := target(t, func(c *net.TCPConn) {
		fmt.Fprint(c, "bye")
		_ = c.CloseWrite()
		all, _ := io.ReadAll(c)
		heard <- string(all)
	})
	s = f.must(first)
	if got, err := io.ReadAll(s); string(got) != "bye" {
		t.Fatalf("got %q, %v", got, err)
	}
	if _, err := s.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if got := <-heard; got != "still here" {
		t.Errorf("a target that ended first heard %q", got)
	}
	f.drained()
}

func TestReset(t *testing.T) {
	f := join(t, nil)
	other := f.must(target(t, echo))
	s := f.must(target(t, func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 1))
		_ = c.SetLinger(0)
	}))
	_, _ = s.Write([]byte("x"))
	var reset *tunnel.ResetError
	if _, err := io.ReadAll(s); !errors.As(err, &reset) || !strings.Contains(reset.Reason, "connection reset by peer") {
		t.Errorf("a target that resets: %v", err)
	}
	ended := make(chan error, 1)
	s = f.must(target(t, func(c *net.TCPConn) {
		_, err := io.ReadAll(c)
		ended <- err
	}))
	s.Reset("no more")
	if err := <-ended; err == nil {
		t.Error("a target whose client was reset sees an orderly end")
	}
	if _, err := other.Write([]byte("ok")); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(io.LimitReader(other, 2)); string(got) != "ok" {
		t.Errorf("the other stream: %q, %v", got, err)
	}
	other.Close()
	f.drained()
}

// What a tunnel carried ends with it, also where the client has said all and the
// target says nothing.
func TestTunnelEnds(t *testing.T) {
	f := join(t, nil)
	ended := make(chan error, 2)
	port := target(t, func(c *net.TCPConn) {
		_, err := io.Copy(io.Discard, c)
		for err == nil { // it only half closed: wait for the rest
			_, err = c.Write([]byte("x"))
		}
		ended <- err
	})
	s := f.must(port)
	_, _ = s.Write([]byte("a"))
	f.end()
	if err := <-ended; err == nil {
		t.Error("the target did not notice")
	}
	if f.agent.Counts().Streams != 0 {
		t.Error("Serve ended before its streams")
	}
}

// answers is a resolver that says other things each time.
type answers struct {
	mu    sync.Mutex
	each  [][]netip.Addr
	asked int
}

func (a *answers) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	switch host {
	case "gone":
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	case "slow":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return a.each[(a.asked-1)%len(a.each)], nil
}

func addrs(ss ...string) (out []netip.Addr) {
	for _, s := range ss {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// A name is resolved once, and the address that was judged is the one that is
// dialled.
func TestRebinding(t *testing.T) {
	r := &answers{each: [][]netip.Addr{addrs("169.254.169.254", "::ffff:127.0.0.1"), addrs("10.0.0.1")}}
	f := join(t, func(c *Config) { c.Resolver = r })
	s, err := f.dial("app", target(t, echo))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if r.asked != 1 {
		t.Errorf("the name was resolved %d times", r.asked)
	}
	f.drained()
}

func TestRefusals(t *testing.T) {
	shut, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := uint16(shut.Addr().(*net.TCPAddr).Port)
	shut.Close()
	ask := func(host string, port uint16) egress.Request {
		return egress.Request{Host: host, Port: port, By: egress.Asker{User: "alice", Role: "operator"}}
	}
	meant := ask("127.0.0.1", 80)
	meant.Node = "n2"
	for _, c := range []struct {
		name   string
		ask    egress.Request
		change func(*egress.Rules)
		behind []netip.Addr
		want   string
	}{
		{"nobody listens", ask("127.0.0.1", nobody), nil, nil, "refused | connection refused: nobody listens there"},
		{"default", ask("192.168.1.9", 80), nil, nil, "forbidden | default: 192.168.1.9:80 is no address of node n1"},
		{"another's lease", ask("10.42.2.5", 80), nil, nil, "forbidden | default"},
		{"metadata", ask("169.254.169.254", 80), nil, nil, "forbidden | metadata"},
		{"loopback in IPv6", ask("::1", 80), nil, nil, "forbidden | loopback"},
		{"a name of metadata", ask("md", 80), nil, addrs("169.254.169.254"), "forbidden | metadata: md (169.254.169.254:80)"},
		{"a name of metadata in IPv6", ask("md", 80), nil, addrs("fd00:ec2::254"), "forbidden | metadata"},
		{"a name of mapped metadata", ask("md", 80), nil, addrs("::ffff:169.254.169.254"), "forbidden | metadata: md (169.254.169.254:80)"},
		{"a name of this host", ask("md", 80), nil, addrs("0.0.0.0"), "forbidden | unspecified"},
		{"a name of a link's address", ask("md", 80), nil, addrs("fe80::1%lo"), "forbidden | malformed"},
		{"a denied name", ask("db.internal", 80), func(r *egress.Rules) { r.Policies[0].Deny = []egress.Rule{{Host: "*.internal"}} }, nil, "forbidden | EgressPolicy/test: deny[0] (host *.internal)"},
		{"the file", ask("127.0.0.1", 80), func(r *egress.Rules) { r.Bound = egress.Bound{} }, nil, "forbidden | loopback"},
		{"the file denies", ask("10.42.1.5", 80), func(r *egress.Rules) { r.Bound.Limited = true }, nil, "forbidden | node-file"},
		{"the file is broken", ask("127.0.0.1", 80), func(r *egress.Rules) { r.Bound.Closed = "it is broken" }, nil, "forbidden | node-file: node n1 dials nothing: it is broken"},
		{"no such name", ask("gone", 80), nil, nil, "unreachable | node n1 does not resolve gone: no such host"},
		{"no address", ask("empty", 80), nil, []netip.Addr{}, "unreachable | node n1 does not resolve empty: it has no address"},
		{"a slow resolver", ask("slow", 80), nil, nil, "timed out"},
		{"meant for another", meant, nil, nil, "invalid | the dial is meant for node n2, and this is n1"},
		{"no port", ask("127.0.0.1", 0), nil, nil, "invalid | egress: port 0"},
		{"mapped", ask("::ffff:127.0.0.1", 80), nil, nil, "invalid | egress: host ::ffff:127.0.0.1 is IPv4 mapped into IPv6"},
		{"a zone", ask("fe80::1%lo", 80), nil, nil, "invalid | egress: host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rules := open()
			if c.change != nil {
				c.change(&rules)
			}
			f := join(t, func(cfg *Config) {
				cfg.Rules = func() (egress.Rules, error) { return rules, nil }
				cfg.Resolver = &answers{each: [][]netip.Addr{c.behind}}
			})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if c.ask.Host == "slow" {
				cancel()
				ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
			}
			defer cancel()
			_, err := f.open(ctx, c.ask)
			got := fmt.Sprint(err)
			var no *tunnel.Refusal
			if errors.As(err, &no) {
				got = fmt.Sprintf("%v | %s", no.Code, no.Reason)
			} else if errors.Is(err, context.DeadlineExceeded) {
				got = "timed out"
			}
			code, part, _ := strings.Cut(c.want, " | ")
			if !strings.HasPrefix(got, code) || !strings.Contains(got, part) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestBadBytes(t *testing.T) {
	f := join(t, nil)
	for _, b := range [][]byte{nil, {0xff}, []byte("GET / HTTP/1.1\r\n\r\n"), bytes.Repeat([]byte{0}, 4096)} {
		var no *tunnel.Refusal
		if _, err := f.tunnel.Open(t.Context(), b); !errors.As(err, &no) || no.Code != tunnel.Invalid {
			t.Errorf("%.20q: %v", b, err)
		}
	}
	s := f.must(target(t, echo))
	s.Close()
	if c := f.agent.Counts(); c.Dials[Malformed] != 4 || c.Dials[Connected] != 1 {
		t.Errorf("counted %v", c.Dials)
	}
	f.drained()
}

// What the kernel says is the host's own is not dialled as a pod's: another CNI's
// bridge has its address among those of its pods.
func TestHostsOwnAddress(t *testing.T) {
	f := join(t, func(c *Config) { c.Own = func(a netip.Addr) bool { return a == netip.MustParseAddr("10.42.1.7") } })
	var no *tunnel.Refusal
	if _, err := f.dial("10.42.1.7", 22); !errors.As(err, &no) || !strings.Contains(no.Reason, "node n1's own address, and 22 none of its host ports") {
		t.Errorf("%v", err)
	}
}

func TestNotReady(t *testing.T) {
	f := join(t, func(c *Config) {
		c.Rules = func() (egress.Rules, error) { return egress.Rules{}, errors.New("no intent is held") }
	})
	var no *tunnel.Refusal
	if _, err := f.dial("127.0.0.1", 80); !errors.As(err, &no) || no.Code != tunnel.Overloaded || !strings.Contains(no.Reason, "no intent is held") {
		t.Errorf("%v", err)
	}
}

// One stream more than there is room for is refused, and room that was given back
// is there again.
func TestLimit(t *testing.T) {
	f := join(t, func(c *Config) { c.Streams = 2 })
	port := target(t, echo)
	a, b := f.must(port), f.must(port)
	var no *tunnel.Refusal
	if _, err := f.dial("127.0.0.1", port); !errors.As(err, &no) || no.Code != tunnel.Overloaded || !strings.Contains(no.Reason, "node n1 has 2 streams open") {
		t.Errorf("a third: %v", err)
	}
	a.Close()
	b.Close()
	f.drained()
	if c := f.agent.Counts(); c.Dials[Overloaded] != 1 {
		t.Errorf("counted %v", c.Dials)
	}
	f.must(port).Close()
	f.drained()
}

// A client that does not read costs its own stream.
func TestStalledConsumer(t *testing.T) {
	f := join(t, nil)
	flood := target(t, func(c *net.TCPConn) {
		b := make([]byte, 64<<10)
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	stalled := f.must(flood)
	s := f.must(target(t, echo))
	for range 100 {
		if _, err := s.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(io.LimitReader(s, 4)); string(got) != "ping" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	stalled.Reset("enough")
	s.Close()
	f.drained()
}

func TestHush(t *testing.T) {
	var h hush
	now := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		after time.Duration
		what  string
		held  int
		say   bool
	}{
		{0, "denied default", 0, true},
		{time.Second, "denied default", 0, false},
		{time.Second, "denied metadata", 0, true},
		{2 * time.Second, "denied default", 0, false},
		{quiet, "denied default", 2, true},
		{2 * quiet, "denied default", 0, true},
	} {
		if held, say := h.may(c.what, now.Add(c.after)); held != c.held || say != c.say {
			t.Errorf("%s after %v: %d %v, want %d %v", c.what, c.after, held, say, c.held, c.say)
		}
	}
}

// The kernel is asked which addresses are its own.
func TestKernelsOwn(t *testing.T) {
	for _, c := range []struct {
		addr string
		want bool
	}{
		{"127.0.0.1", true},
		{"192.0.2.1", false},
		{"2001:db8::1", false},
	} {
		if got := kernelsOwn(netip.MustParseAddr(c.addr)); got != c.want {
			t.Errorf("%s: %v, want %v", c.addr, got, c.want)
		}
	}
}
