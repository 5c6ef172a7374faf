package relay

import (
	"context"
	"errors"
	"slices"

	wire "github.com/weft-net/weft/proto/relay"
	"github.com/weft-net/weft/tunnel"
)

// Bounds of one connection.
const (
	maxPairs    = 4 * maxSessions // buckets: those of nodes that have gone are forgotten with all others
	maxDirty    = 16              // connections that wait for Taken
	flushBytes  = 64 << 10        // or for as many bytes: a long message may take its time
	absentBytes = 8 << 10         // a second, of answers that somebody is not there
)

// session is an agent's connection.
type session struct {
	r                    *Relay
	node, instance, from string
	conn                 *tunnel.Conn
	held                 context.Context
	release              func()
	ready                chan struct{} // closed when conn is there

	// Of the goroutine that reads.
	head   []byte                  // scratch
	pairs  map[string]*wire.Bucket // by whom it sends to
	absent wire.Bucket
	dirty  []*session // to which something was queued
	queued int        // bytes, in all of these
}

func newSession(r *Relay, node, instance, from string) *session {
	return &session{
		r: r, node: node, instance: instance, from: from, ready: make(chan struct{}), pairs: map[string]*wire.Bucket{},
		head: make([]byte, 0, wire.MaxHead), absent: wire.NewBucket(absentBytes, r.clock()),
	}
}

// tunnel is how its connection behaves.
func (s *session) tunnel(b *tunnel.Budget) tunnel.Config {
	return tunnel.Config{Budget: b, Datagram: s.take, Taken: s.flush, DatagramQueue: queueBytes, MaxStreams: 1}
}

// gone says that the connection has ended.
func (s *session) gone() bool { return s.conn.Err() != nil }

// serve holds the connection until it ends, or what it was let in by does.
func (s *session) serve() {
	stop := context.AfterFunc(s.held, func() { s.close(context.Cause(s.held)) })
	for { // agents dial nothing here, but the other end may ask whether this one answers
		req, err := s.conn.Accept(context.Background())
		if err != nil {
			break
		}
		_ = req.Refuse(tunnel.Forbidden, "nothing is dialled over a relay")
	}
	stop()
	<-s.conn.Done()
	s.release()
	s.r.leave(s)
	s.r.tell("relay connection ended", s, s.conn.Err())
}

// close ends the connection, from any goroutine but the one that reads.
func (s *session) close(why error) {
	s.r.tell("relay connection closed", s, why)
	_ = s.conn.Close()
}

// answers says whether the other end answers now: whatever it says to a stream that
// is for nothing is an answer.
func (s *session) answers(ctx context.Context) bool {
	st, err := s.conn.Open(ctx, nil)
	if err == nil {
		_ = st.Close()
		return true
	}
	var no *tunnel.Refusal
	return errors.As(err, &no)
}

// take carries a frame, in the goroutine that reads.
func (s *session) take(b []byte) {
	f, err := wire.Parse(b)
	if err != nil || f.Kind == wire.Absent {
		s.r.stats.broken.Add(1)
		return
	}
	if f.Kind != wire.Packets && f.Kind != wire.Probe {
		return // of a later release
	}
	to := s.r.find(f.Name)
	if to == nil || to.node == s.node {
		s.nobody(f)
		return
	}
	if !s.pair(to.node).Take(len(f.Payload), s.r.clock()) {
		s.r.stats.rate.Add(1)
		return
	}
	s.head = wire.AppendHead(s.head[:0], f.Kind, f.Slot, f.Size, s.node)
	if to.conn.QueueDatagram(s.head, f.Payload) != nil {
		s.nobody(f) // it has just ended
		return
	}
	s.r.stats.bytes.Add(uint64(len(f.Payload)))
	s.later(to, len(b))
}

// nobody tells the agent that a node is not here.
func (s *session) nobody(f wire.Frame) {
	s.r.stats.absent.Add(1)
	if !s.absent.Take(wire.MaxHead, s.r.clock()) {
		return
	}
	select {
	case <-s.ready:
	default:
		return // the handshake is not done: it will ask again
	}
	s.head = wire.AppendHead(s.head[:0], wire.Absent, f.Slot, 0, f.Name)
	if s.conn.QueueDatagram(s.head) == nil {
		s.later(s, len(s.head))
	}
}

// pair is what bounds that which goes to a node.
func (s *session) pair(node string) *wire.Bucket {
	b := s.pairs[node]
	if b == nil {
		if len(s.pairs) >= maxPairs {
			clear(s.pairs)
		}
		fresh := wire.NewBucket(s.r.cfg.Rate, s.r.clock())
		b = &fresh
		s.pairs[node] = b
	}
	return b
}

// later has what was queued sent when all that came along has been taken, so that it
// goes together.
func (s *session) later(to *session, n int) {
	if !slices.Contains(s.dirty, to) {
		s.dirty = append(s.dirty, to)
	}
	if s.queued += n; s.queued >= flushBytes || len(s.dirty) >= maxDirty {
		s.flush()
	}
}

// flush sends what was queued.
func (s *session) flush() {
	for i, to := range s.dirty {
		to.conn.Flush()
		s.dirty[i] = nil
	}
	s.dirty, s.queued = s.dirty[:0], 0
}
