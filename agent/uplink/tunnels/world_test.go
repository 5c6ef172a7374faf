package tunnels

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/proto/connect"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is servers as a keeper meets them.
type world struct {
	t     *testing.T
	began time.Time

	mu     sync.Mutex
	known  []string
	peers  map[string]string // by address; an address without one does not answer
	refuse map[string]error  // by address: of Open
	hangs  map[string]bool   // by address: of Reach
	until  time.Time
	conns  []*fake
	tries  map[string][]time.Duration // by address
	events []string
}

// fake is a tunnel.
type fake struct {
	w      *world
	server string
	peer   string
	id     int

	drained, done chan struct{}
	quiet         chan struct{} // closed while no stream is open

	streams  int // guarded by w.mu, and the next
	err      error
	draining bool // by this end
	served   bool
}

func newWorld(t *testing.T, servers ...string) *world {
	w := &world{t: t, began: time.Now(), known: servers, peers: map[string]string{}, refuse: map[string]error{}, hangs: map[string]bool{}, tries: map[string][]time.Duration{}}
	for _, s := range servers {
		w.peers[s] = "key of " + s
	}
	return w
}

func (w *world) tunnels() *Tunnels {
	return New(Config{
		Servers: func() []string { return locked(w, func() []string { return slices.Clone(w.known) }) },
		Reach:   w.reach, Open: w.open, Serve: w.serve, Log: slog.New(slog.DiscardHandler),
		Reason: func(err error) string { return err.Error() },
	})
}

func locked[T any](w *world, f func() T) T {
	w.mu.Lock()
	defer w.mu.Unlock()
	return f()
}

func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) say(format string, args ...any) {
	w.events = append(w.events, fmt.Sprintf(format, args...))
}

// told returns what happened since the last time that it was asked.
func (w *world) told() string {
	synctest.Wait()
	return locked(w, func() string {
		out := strings.Join(w.events, ", ")
		w.events = nil
		return out
	})
}

func (w *world) reach(ctx context.Context, server string) (Path, error) {
	w.mu.Lock()
	w.tries[server] = append(w.tries[server], time.Since(w.began))
	peer, hangs := w.peers[server], w.hangs[server]
	w.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return Path{}, ctx.Err()
	}
	if peer == "" {
		return Path{}, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	theirs.Close()
	return Path{Conn: ours, Peer: peer, Local: netip.MustParseAddr("10.0.0.11"), Until: w.until}, nil
}

func (w *world) open(_ context.Context, p Path) (Conn, error) {
	_ = p.Conn.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.refuse[p.Peer]; err != nil {
		return nil, err
	}
	for _, c := range w.conns { // the newest of an instance wins
		if c.peer == p.Peer && c.err == nil && !c.draining {
			c.peer += " (before)"
		}
	}
	f := &fake{w: w, peer: p.Peer, id: len(w.conns) + 1, drained: make(chan struct{}), done: make(chan struct{}), quiet: make(chan struct{})}
	close(f.quiet)
	w.conns = append(w.conns, f)
	w.say("open %d to %s", f.id, strings.TrimPrefix(p.Peer, "key of "))
	return f, nil
}

func (w *world) serve(_ context.Context, c Conn, server string) {
	f := c.(*fake)
	w.change(func() { f.server, f.served = server, true })
	<-f.done
	w.change(func() { f.served = false })
}

// conn is the n-th that was opened.
func (w *world) conn(n int) *fake {
	synctest.Wait()
	return locked(w, func() *fake { return w.conns[n-1] })
}

func (f *fake) Drain() {
	f.w.change(func() {
		if !f.draining && f.err == nil {
			f.draining = true
			f.w.say("drain %d", f.id)
		}
	})
}

func (f *fake) Draining() <-chan struct{} { return f.drained }
func (f *fake) Done() <-chan struct{}     { return f.done }
func (f *fake) RTT() time.Duration        { return 7 * time.Millisecond }
func (f *fake) Streams() int              { return locked(f.w, func() int { return f.streams }) }
func (f *fake) Err() error                { return locked(f.w, func() error { return f.err }) }

func (f *fake) Close() error {
	f.die(net.ErrClosed)
	return nil
}

func (f *fake) Quiet(ctx context.Context) error {
	quiet := locked(f.w, func() chan struct{} { return f.quiet })
	select {
	case <-quiet:
		return nil
	case <-f.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// die ends the tunnel.
func (f *fake) die(err error) {
	f.w.change(func() {
		if f.err != nil {
			return
		}
		f.err = err
		f.w.say("end %d", f.id)
		close(f.done)
		if !closed(f.drained) {
			close(f.drained)
		}
	})
}

// goAway is the server's wish to have no more streams on it.
func (f *fake) goAway() { close(f.drained) }

// use opens streams, or ends them with a negative number.
func (f *fake) use(n int) {
	f.w.change(func() {
		if f.streams == 0 && n > 0 {
			f.quiet = make(chan struct{})
		}
		if f.streams += n; f.streams == 0 {
			close(f.quiet)
		}
	})
}

// text is a list in a few words.
func text(ts []Tunnel) string {
	var out []string
	for _, t := range ts {
		words := t.Server + " " + string(t.State)
		if t.Of != "" {
			words += " as " + t.Of
		}
		if t.Err != nil {
			words += ": " + t.Err.Error()
		}
		if t.Streams > 0 {
			words += fmt.Sprintf(" (%d streams)", t.Streams)
		}
		if t.Draining > 0 {
			words += fmt.Sprintf(" (%d on the one before)", t.Draining)
		}
		out = append(out, words)
	}
	return strings.Join(out, ", ")
}

// in runs a test with tunnels that are kept, in virtual time.
func in(t *testing.T, servers string, f func(w *world, tt *Tunnels)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, strings.Fields(servers)...)
		tt := w.tunnels()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- tt.Run(ctx) }()
		synctest.Wait()
		f(w, tt)
		cancel()
		began := time.Now()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if took := time.Since(began); took > stopWithin {
			t.Errorf("to stop took %v", took)
		}
		w.change(func() {
			for _, c := range w.conns {
				if c.err == nil || c.served {
					t.Errorf("tunnel %d outlives Run", c.id)
				}
			}
		})
	})
}

func (w *world) expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func answer(status int, retry time.Duration) error {
	return fmt.Errorf("tunnel: %w", &connect.Refusal{Status: status, Retry: retry})
}
