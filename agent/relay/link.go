package relay

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/agent/mesh"
	wire "github.com/weft-net/weft/proto/relay"
	"github.com/weft-net/weft/tunnel"
)

// Times of a connection to a server's relay.
const (
	pingEvery = 2 * time.Second  // when nobody sends
	deadAfter = 6 * time.Second  // it is closed, and another is opened
	absentFor = 10 * time.Second // that a peer is not sent to over a server which it has left
)

// queueBytes is what may wait for a server, in bytes. More would only be older when it
// arrives.
const queueBytes = 1 << 20

// link is a connection to a server's relay.
type link struct {
	r      *Relay
	conn   *tunnel.Conn
	server string
	via    *mesh.Via

	mute   atomic.Bool  // it does not answer: see watch
	sent   atomic.Int64 // when something was last sent, since the Relay's start
	absent atomic.Int32 // entries of gone
	mu     sync.Mutex   // guards gone
	gone   map[string]time.Time
	asked  time.Duration // since when it was asked without an answer, since the Relay's start; 0: it was not; watch's own
	ready  chan struct{} // closed when conn and server are there
}

// Tunnel says how a connection to a server's relay is opened, and serves it until it
// ends: server is the name that the server says of itself.
func (r *Relay) Tunnel() (tunnel.Config, func(ctx context.Context, c *tunnel.Conn, server string)) {
	l := &link{r: r, gone: map[string]time.Time{}, ready: make(chan struct{})}
	l.sent.Store(int64(-2 * busyFor)) // never
	c := tunnel.Config{Datagram: l.take, PingEvery: pingEvery, DeadAfter: deadAfter, DatagramQueue: queueBytes, MaxStreams: 1}
	return c, l.serve
}

// serve uses the connection until it ends.
func (l *link) serve(_ context.Context, c *tunnel.Conn, server string) {
	l.conn, l.server, l.via = c, server, &mesh.Via{Server: server}
	close(l.ready)
	l.r.enter(l)
	for { // servers open nothing here, but whether this end answers
		req, err := c.Accept(context.Background())
		if err != nil {
			break
		}
		_ = req.Refuse(tunnel.Forbidden, "nothing is dialled over a relay")
	}
	l.r.leave(l)
}

// enter has a link used instead of the one before to the same server.
func (r *Relay) enter(l *link) {
	r.mu.Lock()
	r.links[l.server] = l
	changed := r.rank()
	r.mu.Unlock()
	if changed {
		r.cfg.OnChange()
	}
}

// leave takes a link out that has ended.
func (r *Relay) leave(l *link) {
	r.mu.Lock()
	if r.links[l.server] == l {
		delete(r.links, l.server)
	}
	changed := r.rank()
	s := l.conn.Stats()
	r.mu.Unlock()
	r.stats.queued.Add(s.DatagramsDropped)
	if changed {
		r.cfg.OnChange()
	}
}

// beats tells whether a link is quicker by more than chance.
func (l *link) beats(o *link) bool {
	const least = 5 * time.Millisecond
	return l.rtt()+l.rtt()/4+least < o.rtt()
}

// rtt is the round trip; one that is not measured yet is long.
func (l *link) rtt() time.Duration {
	if d := l.conn.RTT(); d > 0 {
		return d
	}
	return time.Minute
}

// queue has a frame sent with the next flush.
func (l *link) queue(head, payload []byte) {
	if l.conn.QueueDatagram(head, payload) == nil {
		l.r.stats.framesOut.Add(1)
		l.r.stats.bytesOut.Add(uint64(len(payload)))
	}
}

// flush sends what was queued.
func (l *link) flush() {
	l.conn.Flush()
	l.use()
}

// probe sends a probe.
func (l *link) probe(peer string, slot uint8, b []byte) {
	_ = l.conn.SendDatagram(wire.AppendHead(nil, wire.Probe, slot, 0, peer), b) // if it has ended, the probe is lost
	l.use()
}

// use notes that something is sent, which wants an answer.
func (l *link) use() {
	now := int64(l.r.clock())
	if was := l.sent.Swap(now); now-was > int64(busyFor) {
		signal(l.r.flows)
	}
}

// take takes a frame, in the goroutine that reads the connection.
func (l *link) take(b []byte) {
	f, err := wire.Parse(b)
	if err != nil {
		l.r.stats.strays.Add(1)
		return
	}
	select {
	case <-l.ready:
	default:
		return // the handshake has not come back yet: what is sent again finds it
	}
	l.r.arrive(f, l.via, l)
}

// arrive hands on what a relay says; l is nil if that is a node.
func (r *Relay) arrive(f wire.Frame, via *mesh.Via, l *link) {
	switch f.Kind {
	case wire.Packets:
		if p := r.heard(f.Name, f.Slot); p != nil {
			p.deliver(f, via)
			r.stats.framesIn.Add(1)
			r.stats.bytesIn.Add(uint64(len(f.Payload)))
		}
	case wire.Probe:
		if p := r.heard(f.Name, f.Slot); p != nil {
			r.cfg.Probe(*via, p.key.peer, f.Slot, f.Payload)
		}
	case wire.Absent:
		if l != nil {
			l.lack(string(f.Name))
		}
		return
	default:
		return
	}
	if l != nil && l.absent.Load() > 0 {
		l.found(f.Name)
	}
}

// lack notes that a peer has no connection to the server. Names that are not of the
// fabric are not noted, so that there are not more than nodes.
func (l *link) lack(peer string) {
	l.r.mu.RLock()
	_, member := l.r.members[peer]
	l.r.mu.RUnlock()
	if !member {
		return
	}
	l.mu.Lock()
	l.gone[peer] = time.Now()
	l.absent.Store(int32(len(l.gone)))
	l.mu.Unlock()
}

func (l *link) found(peer []byte) {
	l.mu.Lock()
	delete(l.gone, string(peer))
	l.absent.Store(int32(len(l.gone)))
	l.mu.Unlock()
}

// lacks tells whether the server has said of late that a peer is not there.
func (l *link) lacks(peer string) bool {
	if l.absent.Load() == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	at, said := l.gone[peer]
	if said && time.Since(at) > absentFor {
		delete(l.gone, peer)
		l.absent.Store(int32(len(l.gone)))
		return false
	}
	return said
}
