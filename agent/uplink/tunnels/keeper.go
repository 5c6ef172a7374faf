package tunnels

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/weft-net/weft/proto/note"
)

// Times of a tunnel.
const (
	openWithin = 20 * time.Second // to reach a server and have its answer
	moveWithin = 10 * time.Second // over which agents with new certificates spread
	drainMost  = time.Hour        // of the tunnel before
	drainGrace = time.Second      // for streams that were on their way when it began
	stopWithin = 2 * time.Second  // for what is open when the agent stops
	maxOld     = 4                // that drain, a server
)

var (
	errMoved   = errors.New("the node's address that the tunnel came from is gone")
	errRenewed = errors.New("the node has a newer certificate")
	errDrained = errors.New("the server takes no more streams on it")
)

// keeper keeps the tunnel to one server. What is not guarded is its loop's own.
type keeper struct {
	t      *Tunnels
	server string
	wake   chan struct{}   // room for one: now, cut or t.gen may have changed
	life   context.Context // Run's

	current  *session
	failures int // in a row
	next     time.Time

	// Guarded by t.mu.
	shown Tunnel
	conn  Conn
	local netip.Addr
	peer  string     // that is claimed
	old   []*session // that drain
	now   bool       // try at once
	cut   bool       // the current one hears nothing any more
}

// session is one tunnel.
type session struct {
	conn  Conn
	path  Path
	gen   uint64
	ended chan struct{} // nobody serves it any more
	hurry context.CancelFunc
}

// run opens tunnels, one after the other, until ctx ends.
func (k *keeper) run(ctx context.Context) {
	k.next = time.Now()
	for ctx.Err() == nil {
		k.look()
		if !k.next.IsZero() && !time.Now().Before(k.next) {
			k.try(ctx)
			continue
		}
		k.await(ctx)
	}
	if k.current != nil {
		k.retire(k.current)
		k.lose(nil)
	}
}

// await waits for something to do.
func (k *keeper) await(ctx context.Context) {
	var due <-chan time.Time
	if !k.next.IsZero() {
		t := time.NewTimer(time.Until(k.next))
		defer t.Stop()
		due = t.C
	}
	var done, draining <-chan struct{}
	if k.current != nil {
		done, draining = k.current.conn.Done(), k.current.conn.Draining()
	}
	select {
	case <-ctx.Done():
	case <-k.wake:
	case <-due:
	case <-done:
	case <-draining:
	}
}

// look takes notice of what has changed.
func (k *keeper) look() {
	k.t.mu.Lock()
	gen, cut, now := k.t.gen, k.cut, k.now
	k.cut, k.now = false, false
	k.t.mu.Unlock()
	s := k.current
	switch {
	case s == nil && now:
		k.failures = 0
		k.next = time.Now()
	case s == nil:
	case cut:
		k.end(errMoved)
	case s.conn.Err() != nil:
		k.end(s.conn.Err())
	case closed(s.conn.Draining()):
		k.retire(s)
		k.lose(errDrained)
	case s.gen != gen && k.next.IsZero():
		k.next = time.Now().Add(rand.N(moveWithin))
	}
}

// try opens a tunnel, beside the current one if there is one.
func (k *keeper) try(ctx context.Context) {
	s, err := k.open(ctx)
	if ctx.Err() != nil {
		if err == nil {
			k.retire(s)
		}
		return
	}
	if err != nil {
		k.fail(err)
		return
	}
	if was := k.current; was != nil {
		k.retire(was)
		k.ended(errRenewed)
	}
	k.current, k.failures, k.next = s, 0, time.Time{}
	k.t.mu.Lock()
	k.conn, k.local, k.t.counts.Opened = s.conn, s.path.Local, k.t.counts.Opened+1
	k.t.mu.Unlock()
	k.note(Tunnel{Server: k.server, State: Up, Since: time.Now(), Proxy: s.path.Proxy})
	k.t.cfg.Log.Info("tunnel opened", note.Conn, k.server, note.Via, s.path.Proxy)
}

func (k *keeper) open(ctx context.Context) (*session, error) {
	k.t.mu.Lock()
	gen := k.t.gen
	k.t.mu.Unlock()
	within, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	path, err := k.t.cfg.Reach(within, k.server)
	if err != nil {
		return nil, err
	}
	if of := k.t.claim(path.Peer, k); of != "" {
		_ = path.Conn.Close()
		return nil, sameError{of}
	}
	conn, err := k.t.cfg.Open(within, path)
	if err != nil && k.current != nil {
		k.t.claim(k.current.path.Peer, k) // it may be another's that did not say yes
	}
	if err != nil && k.current == nil {
		k.t.release(k)
	}
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn, path: path, gen: gen, ended: make(chan struct{})}
	k.t.going.Go(func() {
		defer close(s.ended)
		ctx, cancel := context.WithCancel(context.WithoutCancel(k.life))
		defer cancel()
		k.t.cfg.Serve(ctx, conn, k.server)
		_ = conn.Close() // nobody serves it
	})
	return s, nil
}

// fail notes a try that came to nothing. A tunnel that stands goes on.
func (k *keeper) fail(err error) {
	k.failures++
	state, pause := judge(err, k.failures)
	k.next = time.Now().Add(pause)
	k.t.mu.Lock()
	k.t.counts.Failed++
	was := k.shown
	k.t.mu.Unlock()
	log := k.t.cfg.Log.Debug
	if was.State != state && (state == Down || state == Refused) { // the first of an outage
		log = k.t.cfg.Log.Warn
	}
	log("tunnel not opened", note.Conn, k.server, note.Err, err, note.Retry, pause)
	if k.current != nil {
		was.Err, was.Next = err, k.next
		k.note(was)
		return
	}
	now := Tunnel{Server: k.server, State: state, Since: was.Since, Err: err, Next: k.next}
	if was.State != state {
		now.Since = time.Now()
	}
	if same := (sameError{}); errors.As(err, &same) {
		now.Of, now.Err = same.of, nil
	}
	k.note(now)
}

// end closes the current tunnel. Whoever serves it sees that for himself.
func (k *keeper) end(err error) {
	_ = k.current.conn.Close()
	k.lose(err)
}

// lose notes that the current tunnel is no more, or will not be. nil: because the
// keeper stops.
func (k *keeper) lose(err error) {
	k.current = nil
	k.t.release(k)
	k.t.mu.Lock()
	k.conn, k.local = nil, netip.Addr{}
	k.t.mu.Unlock()
	if err == nil {
		return
	}
	k.failures++
	pause := backoff(k.failures)
	if errors.Is(err, errMoved) {
		pause = 0
	}
	k.next = time.Now().Add(pause)
	k.ended(err)
	k.note(Tunnel{Server: k.server, State: Down, Since: time.Now(), Err: err, Next: k.next})
	k.t.cfg.Log.Warn("tunnel lost", note.Conn, k.server, note.Err, err, note.Retry, pause)
}

// ended counts.
func (k *keeper) ended(err error) {
	reason := ""
	switch err {
	case errMoved:
		reason = "moved"
	case errRenewed:
		reason = "renewed"
	case errDrained:
		reason = "drained"
	default:
		reason = k.t.cfg.Reason(err)
	}
	k.t.mu.Lock()
	k.t.counts.Ended[reason]++
	k.t.mu.Unlock()
}

func (k *keeper) note(s Tunnel) {
	k.t.mu.Lock()
	k.shown = s
	k.t.mu.Unlock()
	k.t.cfg.OnChange()
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
