package echo

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	wire "github.com/weft-net/weft/proto/echo"
)

// served is an echo that answers until the test ends.
func served(t testing.TB, c Config) *Echo {
	t.Helper()
	c.Log = slog.New(slog.DiscardHandler)
	e := Open(t.Context(), c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return e
}

func dial(t testing.TB, host string, port uint16) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestEchoTellsWhereFrom(t *testing.T) {
	e := served(t, Config{})
	cookie, _ := e.Cookie("n1")
	if len(e.Ports()) != 2 || e.Ports()[0] == e.Ports()[1] {
		t.Fatal(e.Ports())
	}
	// An address of loopback that is not the one the kernel would answer from: the
	// connected socket takes the answer from nobody else.
	for _, host := range []string{"127.0.0.1", "127.0.0.9", "::1"} {
		for _, port := range e.Ports() {
			c := dial(t, host, port)
			m := wire.Request{ID: 5, Cookie: cookie}.Bytes()
			if _, err := c.Write(m); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 1500)
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			n, err := c.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			r, err := wire.ParseReply(b[:n])
			if err != nil || r.ID != 5 || r.Observed != c.LocalAddr().(*net.UDPAddr).AddrPort() || n != len(m) {
				t.Errorf("%s: %+v of %d bytes, %v", host, r, n, err)
			}
		}
	}
}

// One line a datagram: what becomes of it.
func TestRefused(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	e := Open(t.Context(), Config{Host: "192.0.2.1", Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	cookie, lasts := e.Cookie("n1")
	other, _ := Open(t.Context(), Config{Host: "192.0.2.1", Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }}).Cookie("n1")
	good := wire.Request{ID: 1, Cookie: cookie}.Bytes()
	tampered := wire.Request{ID: 1, Cookie: cookie}
	tampered.Cookie[7]++ // later
	from := netip.MustParseAddrPort("198.51.100.7:51820")
	for _, c := range []struct {
		what string
		b    []byte
		want int
	}{
		{"a request", good, answered},
		{"nothing", nil, malformed},
		{"one octet less", good[:len(good)-1], malformed},
		{"one octet more", append(good[:len(good):len(good)], 0), malformed},
		{"a reply", wire.Reply{ID: 1, Observed: from}.Bytes(), malformed},
		{"no cookie", wire.Request{ID: 1}.Bytes(), refused},
		{"a cookie made to last longer", tampered.Bytes(), refused},
		{"a cookie of another server", wire.Request{ID: 1, Cookie: other}.Bytes(), refused},
	} {
		if _, got := e.answer(c.b, from); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, results[got], results[c.want])
		}
	}
	now = now.Add(lasts)
	if _, got := e.answer(good, from); got != refused {
		t.Errorf("a cookie that has ended: %s", results[got])
	}
}

func TestRates(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	e := Open(t.Context(), Config{Host: "192.0.2.1", Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	ask := func(node string, from netip.Addr, n int) (answers int) {
		cookie, _ := e.Cookie(node)
		for range n {
			if _, got := e.answer(wire.Request{ID: 1, Cookie: cookie}.Bytes(), netip.AddrPortFrom(from, 1)); got == answered {
				answers++
			}
		}
		return answers
	}
	addr := netip.MustParseAddr
	if got := ask("n1", addr("198.51.100.7"), 2*NodeBurst); got != NodeBurst {
		t.Errorf("a node at once: %d, want %d", got, NodeBurst)
	}
	if got := ask("n1", addr("198.51.100.8"), 10); got != 0 {
		t.Errorf("the same from another address: %d", got)
	}
	if got := ask("n2", addr("198.51.100.7"), 10); got != 10 {
		t.Errorf("another node from the same address: %d", got)
	}
	now = now.Add(time.Second)
	if got := ask("n1", addr("198.51.100.7"), 2*NodeBurst); got != NodeRate {
		t.Errorf("a second later: %d, want %d", got, NodeRate)
	}
	now = now.Add(time.Minute)
	total := 0
	for i := range 100 {
		total += ask("m"+string(rune('a'+i)), addr("2001:db8::7").Next(), NodeBurst)
	}
	if total != SourceBurst {
		t.Errorf("many nodes of one /64: %d, want %d", total, SourceBurst)
	}
}

// What is remembered is bounded, whatever comes.
func TestRatesAreBounded(t *testing.T) {
	r, now := newRates(), time.Unix(0, 0)
	from := netip.MustParseAddr("10.0.0.0")
	for range 2 * maxHeld {
		from = from.Next()
		r.take(who{}, from, now)
		now = now.Add(time.Millisecond)
	}
	for range 2 * maxHeld {
		from = from.Next()
		r.sources.take(netip.PrefixFrom(from, 32), now)
	}
	if n := len(r.sources.held); n > maxHeld {
		t.Errorf("%d are held", n)
	}
	now = now.Add(time.Minute)
	if !r.sources.take(netip.MustParsePrefix("192.0.2.1/32"), now) {
		t.Error("a new source is not answered after a flood")
	}
}

func TestPortThatIsTaken(t *testing.T) {
	var said strings.Builder
	taken, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := uint16(taken.LocalAddr().(*net.UDPAddr).Port)
	e := Open(t.Context(), Config{Host: "127.0.0.1", Port: port, Log: slog.New(slog.NewTextHandler(&said, nil))})
	defer e.Close()
	for _, p := range e.Ports() {
		if p == port {
			t.Errorf("port %d is offered", p)
		}
	}
	if !strings.Contains(said.String(), "address already in use") || !strings.Contains(said.String(), "ss -lunp") {
		t.Error(said.String())
	}
}

// lines hands on what is logged.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// A port that fails for good is told of, and offered no more; the other goes on.
func TestPortThatFails(t *testing.T) {
	said := make(lines, 8)
	e := Open(t.Context(), Config{Host: "127.0.0.1", Log: slog.New(slog.NewTextHandler(said, nil))})
	dead, alive := e.ports[0], e.ports[1]
	if err := dead.conn.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	if line := <-said; !strings.Contains(line, fmt.Sprintf("receive on UDP port %d", dead.number)) {
		t.Error(line)
	}
	if got := e.Ports(); !slices.Equal(got, []uint16{alive.number}) {
		t.Errorf("offers %d; %d is dead", got, dead.number)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A flood of what is not asked well is counted, and does not stop who asks well.
func TestFlood(t *testing.T) {
	e := served(t, Config{Host: "127.0.0.1"})
	flood := dial(t, "127.0.0.1", e.Ports()[0])
	cookie, _ := e.Cookie("n1")
	c := dial(t, "127.0.0.1", e.Ports()[0])
	b := make([]byte, 1500)
	for try := 0; ; try++ {
		for range 200 {
			_, _ = flood.Write(wire.Request{ID: 9}.Bytes())
			_, _ = flood.Write(make([]byte, 1200))
		}
		_, _ = c.Write(wire.Request{ID: 5, Cookie: cookie}.Bytes())
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := c.Read(b); err == nil {
			if r, err := wire.ParseReply(b[:n]); err != nil || r.ID != 5 {
				t.Errorf("%+v, %v", r, err)
			}
			break
		}
		if try == 30 {
			t.Fatal("no answer amid a flood")
		}
	}
	if e.counts[refused].Load() == 0 || e.counts[malformed].Load() == 0 {
		t.Errorf("refused %d, malformed %d", e.counts[refused].Load(), e.counts[malformed].Load())
	}
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(e)
	if all, err := r.Gather(); err != nil || len(all) != 1 || len(all[0].GetMetric()) != 3 { // answered, refused, malformed
		t.Errorf("%v, %v", all, err)
	}
}

func FuzzAnswer(f *testing.F) {
	e := Open(f.Context(), Config{Host: "192.0.2.1", Log: slog.New(slog.DiscardHandler)})
	f.Add(wire.Request{}.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if out, result := e.answer(b, netip.MustParseAddrPort("192.0.2.9:1")); result == answered || out != nil {
			t.Errorf("%x is answered", b)
		}
	})
}

func BenchmarkRefused(b *testing.B) {
	e := Open(b.Context(), Config{Host: "192.0.2.1", Log: slog.New(slog.DiscardHandler)})
	m := wire.Request{ID: 1}.Bytes()
	for b.Loop() {
		e.answer(m, netip.MustParseAddrPort("192.0.2.9:1"))
	}
}
