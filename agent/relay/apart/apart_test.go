package apart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/agent/relay"
	"github.com/weft-net/weft/proto/intent"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var discard = slog.New(slog.DiscardHandler)

// within bounds what happens soon.
const within = time.Minute

// lines stand for connections to servers, and note what they are told.
type lines struct{ said chan string }

func (l lines) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (l lines) Set(servers []string, _ time.Duration) {
	for _, s := range servers {
		l.said <- "server " + s
	}
}
func (l lines) Renewed()                    { l.said <- "renewed" }
func (l lines) Alive(server string)         { l.said <- "alive " + server }
func (l lines) Moved(func(netip.Addr) bool) { l.said <- "moved" }

// folder is a data folder in memory.
type folder struct {
	mu sync.Mutex
	b  []byte
}

func (f *folder) Read(string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.b == nil {
		return nil, fs.ErrNotExist
	}
	return f.b, nil
}

func (f *folder) Write(_ string, b []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.b = b
	return nil
}
func (f *folder) SetAside(string) (string, error) { return "", nil }

// host is a machine on which processes are started, each in this one.
type host struct {
	t      *testing.T
	dir    string
	folder folder
	said   chan string

	mu      sync.Mutex
	release string
	starts  int
	end     context.CancelFunc
	done    chan error
}

func newHost(t *testing.T) *host {
	dir, err := os.MkdirTemp("", "apart") // a path of a test's folder is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, dir: dir, said: make(chan string, 1000), release: "v1"}
	t.Cleanup(func() {
		_ = h.Stop(context.Background())
		os.RemoveAll(dir)
	})
	return h
}

func (h *host) Start(context.Context) error {
	ctx, end := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	c := ProcessConfig{RunDir: h.dir, Release: h.release, Log: discard, Parts: func(string, string, Opener) (relay.Folder, Lines) { return &h.folder, lines{h.said} }}
	go func() { done <- Serve(ctx, c, func() error { close(ready); return nil }) }()
	select {
	case <-ready:
	case err := <-done:
		end()
		return err
	}
	h.starts, h.end, h.done = h.starts+1, end, done
	return nil
}

func (h *host) Stop(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.end == nil {
		return nil
	}
	h.end()
	h.end = nil
	return <-h.done
}

// Kill notes why, for whom it waits.
func (h *host) Kill(ctx context.Context, why string) error {
	h.said <- "killed: " + why
	return h.Stop(ctx)
}

func (h *host) Follow() error { return nil }

// stand has something else listen where the process would, and do to each connection what
// serve says.
func (h *host) stand(serve func(net.Conn)) {
	h.t.Helper()
	l, err := net.Listen("unix", Socket(h.dir))
	if err != nil {
		h.t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.end, h.done = func() { l.Close() }, make(chan error, 1)
	h.done <- nil
	h.t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
}

// greets says hello as a process of a protocol does.
func greets(c net.Conn, protocol int) {
	b, _ := appendMessage(nil, message{Hello: &hello{Protocol: protocol, PID: 7}})
	_, _ = c.Write(b)
}

// count is how many processes were started.
func (h *host) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.starts
}

// agent is one with a Client that runs.
type agent struct {
	*Client
	stop  func()
	moves chan struct{}
	lacks chan error
}

func (h *host) agent(release string, n intent.Node, device uint16) *agent {
	h.t.Helper()
	a := &agent{moves: make(chan struct{}, 100), lacks: make(chan error, 100)}
	a.Client = New(Config{
		Node: n.Name, DataDir: "/data", RunDir: h.dir, Release: release, Starter: h,
		Device:   func(uint8) uint16 { return device },
		Intent:   func() (intent.Node, bool) { return n, len(n.Peers) > 0 },
		Straight: func(string) (bool, bool) { return true, true },
		Secret:   func(string, uint8) ([32]byte, bool) { return [32]byte{7}, true },
		Servers:  func() ([]string, time.Duration) { return []string{"192.0.2.9:7443"}, 0 },
		Probe:    func(mesh.Via, string, uint8, []byte) {}, OnChange: func() {}, OnPort: func() { a.moves <- struct{}{} },
		Told: func(err error) { a.lacks <- err },
	})
	ctx, end := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = a.Run(ctx) }()
	a.stop = sync.OnceFunc(func() { end(); <-done })
	h.t.Cleanup(a.stop)
	return a
}

// linked waits until the agent speaks with a process.
func (a *agent) await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for start := time.Now(); !is(); {
		if time.Since(start) > within {
			t.Fatal("never: " + what)
		}
		select {
		case <-a.moves:
		case <-time.After(time.Millisecond):
		}
	}
}

func (a *agent) up() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.linked
}

// endpoint asks until there is one.
func (a *agent) endpoint(t *testing.T, name string) (at netip.AddrPort) {
	t.Helper()
	a.await(t, "a port for "+name, func() bool {
		var err error
		at, err = a.Endpoint(name, 0)
		return err == nil
	})
	return at
}

func fabric(names ...string) intent.Node {
	n := intent.Node{Name: names[0]}
	for i, name := range names {
		n.Peers = append(n.Peers, intent.Peer{Name: name, Slots: []intent.Slot{{Key: intent.Key{byte(i + 1)}, Port: 51820}}})
	}
	return n
}

// heard waits for words that connections are told.
func (h *host) heard(words ...string) {
	h.t.Helper()
	var got []string
	for range words {
		select {
		case s := <-h.said:
			got = append(got, s)
		case <-time.After(within):
			h.t.Fatalf("%q; want %q", got, words)
		}
	}
	if d := cmp.Diff(words, got); d != "" {
		h.t.Error(d)
	}
}

// TestAdopted: what was told stands while no agent is there, and the next one finds the
// ports where they were, in the same process.
func TestAdopted(t *testing.T) {
	h := newHost(t)
	first := h.agent("v1", fabric("n1", "n2", "n3"), 51820)
	at := first.endpoint(t, "n2")
	h.heard("server 192.0.2.9:7443")
	first.stop()
	if c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at)); err == nil {
		c.Close()
		t.Errorf("%v is nobody's while no agent is there", at)
	}
	second := h.agent("v1", fabric("n1", "n2", "n3"), 51820)
	if again := second.endpoint(t, "n2"); again != at {
		t.Errorf("%v, then %v", at, again)
	}
	second.Alive("192.0.2.9:7443")
	h.heard("renewed", "alive 192.0.2.9:7443")
	if n := h.count(); n != 1 {
		t.Errorf("%d processes", n)
	}
}

// TestForgotten: a peer is forgotten by a telling that is whole, and by no other.
func TestForgotten(t *testing.T) {
	h := newHost(t)
	first := h.agent("v1", fabric("n1", "n2", "n3"), 51820)
	at := first.endpoint(t, "n2")
	first.stop()
	silent := h.agent("v1", intent.Node{Name: "n1"}, 51820) // knows nothing yet
	silent.await(t, "a process", silent.up)
	silent.stop()
	if c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at)); err == nil {
		c.Close()
		t.Errorf("%v was closed by an agent that knows nothing", at)
	}
	second := h.agent("v1", fabric("n1", "n3"), 51820)
	second.await(t, "the port is closed", func() bool {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// TestDeath: another process is started at once, with the same ports.
func TestDeath(t *testing.T) {
	h := newHost(t)
	a := h.agent("v1", fabric("n1", "n2"), 51820)
	at := a.endpoint(t, "n2")
	if err := h.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	a.await(t, "another process", func() bool { return h.count() == 2 && a.up() })
	a.await(t, "the same port", func() bool {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

// TestReplaced: a process that serves another node, or speaks another protocol, is ended.
func TestReplaced(t *testing.T) {
	t.Run("another node", func(t *testing.T) {
		h := newHost(t)
		first := h.agent("v1", fabric("n1", "n2"), 51820)
		first.endpoint(t, "n2")
		first.stop()
		second := h.agent("v1", fabric("m1", "n2"), 51820)
		second.endpoint(t, "n2")
		if n := h.count(); n != 2 {
			t.Errorf("%d processes", n)
		}
	})
	t.Run("another protocol", func(t *testing.T) {
		h := newHost(t)
		h.stand(func(c net.Conn) { greets(c, Protocol+1) })
		a := h.agent("v1", fabric("n1", "n2"), 51820)
		a.endpoint(t, "n2")
		if n := h.count(); n != 1 {
			t.Errorf("%d processes", n)
		}
	})
}

// TestHung: a process that says nothing is not waited for by each peer, and is killed;
// so is one that does not even say hello.
func TestHung(t *testing.T) {
	for name, greeting := range map[string]func(net.Conn){
		"after its hello": func(c net.Conn) { greets(c, Protocol) },
		"from the start":  func(net.Conn) {},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.stand(func(c net.Conn) {
				greeting(c)
				_, _ = io.Copy(io.Discard, c) // until the agent goes
			})
			a := h.agent("v1", fabric("n1", "n2", "n3"), 51820)
			if name == "after its hello" {
				a.await(t, "a process", a.up)
				if _, err := a.Endpoint("n2", 0); err == nil {
					t.Error("a port of a process that hangs")
				}
				if _, err := a.Endpoint("n3", 0); !errors.Is(err, errHung) && !errors.Is(err, errNoProcess) {
					t.Errorf("the next peer: %v", err)
				}
			}
			h.heard("killed: "+hangs, "server 192.0.2.9:7443")
			a.endpoint(t, "n3")
		})
	}
}

// TestEndsAtOnce: that a process ends whenever it is spoken with is told, and it is not
// started without a pause.
func TestEndsAtOnce(t *testing.T) {
	h := newHost(t)
	h.stand(func(c net.Conn) { greets(c, Protocol) })
	a := h.agent("v1", fabric("n1", "n2"), 51820)
	select {
	case err := <-a.lacks:
		if !errors.Is(err, errEnded) {
			t.Error(err)
		}
	case <-time.After(within):
		t.Error("nobody was told")
	}
}

// TestGone: what many peers that are gone are told by fits into messages.
func TestGone(t *testing.T) {
	c := New(Config{})
	c.held = true
	for i := range 12_000 {
		c.edited[fmt.Sprintf("%0250d", i)] = true
	}
	gone := 0
	for _, m := range c.news(false) {
		gone += len(m.Gone)
		if _, err := appendMessage(nil, m); err != nil {
			t.Error(err)
		}
	}
	if gone != 12_000 {
		t.Errorf("%d peers are gone", gone)
	}
}

// TestQuiet: a process of another release goes on while it carries, and not for long
// after.
func TestQuiet(t *testing.T) {
	c := New(Config{Release: "v2"})
	s := &session{c: c, l: &line{hello: hello{Release: "v1"}}, born: time.Now(), still: time.Now().Add(-quietFor - time.Second)}
	s.count(relay.Stats{FramesIn: 7})
	if err := s.judge(); err != nil {
		t.Errorf("it carries: %v", err)
	}
	s.still = s.still.Add(-quietFor - time.Second)
	s.count(relay.Stats{FramesIn: 7})
	if err := s.judge(); !errors.Is(err, errReplace) {
		t.Errorf("it carries nothing: %v", err)
	}
	s.l.hello.Release = "v2"
	if err := s.judge(); err != nil {
		t.Errorf("of this release: %v", err)
	}
	s.beats.Store(0)
	for range hungAfter {
		if err := s.judge(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.judge(); !errors.Is(err, errHung) {
		t.Errorf("it says nothing: %v", err)
	}
}

// TestSecrets: they go to the process where one of the two relays, and nowhere else.
func TestSecrets(t *testing.T) {
	n := fabric("n1", "n2", "n3")
	n.Peers[1].Labels = map[string]string{intent.RelayLabel: "true"}
	asked := 0
	c := New(Config{
		Node: "n1", Intent: func() (intent.Node, bool) { return n, true }, Straight: func(string) (bool, bool) { return false, false },
		Servers: func() ([]string, time.Duration) { return nil, 0 }, Device: func(uint8) uint16 { return 0 },
		Secret: func(string, uint8) ([32]byte, bool) { asked++; return [32]byte{9}, true },
	})
	c.look()
	c.look()
	if asked != 1 || len(c.base["n2"].Slots[0].Secret) != 32 || len(c.base["n3"].Slots[0].Secret) != 0 {
		t.Errorf("asked %d times; %+v", asked, c.base)
	}
	n.Peers[0].Slots[0].Key = intent.Key{99}
	c.look()
	if asked != 2 {
		t.Error("the secret of a key that went was kept")
	}
	if c.base["n2"].Straight != nil {
		t.Error("what is not known was told")
	}
	n.Peers[1].Labels = nil
	c.look()
	if asked != 2 || c.base["n2"].Relays || !c.base["n2"].sealed() {
		t.Error("pairs that are yet to leave a relay have no secret with it")
	}
}

// TestServers: an agent that starts tells of the servers that peers know of, until the
// process has its say.
func TestServers(t *testing.T) {
	n := fabric("n1", "n2")
	n.Peers[0].Relays = []string{"s2", "s1"}
	c := New(Config{Intent: func() (intent.Node, bool) { return n, true }})
	steps := []struct {
		says    []string
		grace   bool
		changes bool
		want    string
	}{
		{nil, true, false, "[s2 s1]"},
		{[]string{"s1"}, true, true, "[s1]"},
		{[]string{"s1"}, false, false, "[s1]"},
		{nil, true, false, "[s1]"},
		{nil, false, true, "[]"},
	}
	for i, s := range steps {
		if changed := c.serve(s.says, s.grace); changed != s.changes || fmt.Sprint(c.Servers()) != s.want {
			t.Errorf("step %d: %v, %v; want %s", i, changed, c.Servers(), s.want)
		}
	}
}

// TestQueue: the oldest probe makes room.
func TestQueue(t *testing.T) {
	q := newQueue()
	for i := range probesWait + 10 {
		q.probe(probe{data: []byte{byte(i)}})
	}
	if first := <-q.probes; first.data[0] != 10 || q.dropped.Load() != 10 {
		t.Errorf("%v is the oldest; %d were dropped", first.data, q.dropped.Load())
	}
}
