package tunnel

import "encoding/binary"

// What a session may have waiting that no stream accounts for.
const (
	maxRefusals     = 32 << 10 // answers to streams that were refused unseen
	datagramQuantum = 64 << 10
	quantum         = 64 << 10 // of a stream, in each round, while others wait
)

// scheduler is what waits to be written, and in which order: control first, then
// datagrams and streams by deficit round robin, in which a stream that had nothing
// waiting goes before those that had (RFC 8290, 4.2). Guarded by Conn.mu.
type scheduler struct {
	control   ring // streams with marks
	refusals  []refusal
	echo      bool     // a ping is to be answered: the last that came
	ping      bool     // one is to be sent
	away      *Refusal // GOAWAY is to be sent
	datagrams queue
	waiting   int  // memory of datagrams, bytes
	fresh     ring // streams that have just got something to send
	old       ring // others that have
	queued    int  // bytes of streams
}

// refusal answers a stream that was never made.
type refusal struct {
	id     uint32
	code   Code
	reason string
}

// ring is a list of streams; each is in one at most.
type ring struct{ head, tail *Stream }

func (r *ring) push(s *Stream, link func(*Stream) **Stream) {
	*link(s) = nil
	if r.tail == nil {
		r.head = s
	} else {
		*link(r.tail) = s
	}
	r.tail = s
}

func (r *ring) pop(link func(*Stream) **Stream) *Stream {
	s := r.head
	r.head = *link(s)
	if r.head == nil {
		r.tail = nil
	}
	*link(s) = nil
	return s
}

func byData(s *Stream) **Stream    { return &s.nextReady }
func byControl(s *Stream) **Stream { return &s.nextControl }

// empty says whether nothing waits.
func (d *scheduler) empty() bool {
	return d.fresh.head == nil && d.old.head == nil && d.control.head == nil && d.datagrams.head == nil &&
		len(d.refusals) == 0 && !d.echo && !d.ping && d.away == nil
}

// ready puts a stream that has something to send in line.
func (d *scheduler) ready(s *Stream) {
	if !s.ready {
		s.ready, s.deficit = true, quantum
		d.fresh.push(s, byData)
	}
}

// mark has control frames of a stream sent.
func (d *scheduler) mark(s *Stream, m marks) {
	if s.marks == 0 {
		d.control.push(s, byControl)
	}
	s.marks |= m
}

// gather takes what goes into the next message.
func (c *Conn) gather() *batch {
	b, d := newBatch(c.pace.limit()), &c.sched
	c.gatherSession(b)
	for d.control.head != nil && b.room() > openFixed+MaxTarget+maxReason {
		d.control.pop(byControl).encode(b)
	}
	if d.control.head != nil || len(d.refusals) > 0 {
		return b // what a stream may send can depend on what has to go first
	}
	for took := 0; d.datagrams.head != nil && took < datagramQuantum && d.datagrams.head.len() <= b.room(); {
		g := d.datagrams.pop()
		took += g.len()
		d.waiting -= len(g.buf)
		b.data(kindDatagram, 0, g.bytes(), g)
		c.stats.DatagramsOut++
	}
	c.gatherStreams(b)
	return b
}

// gatherSession takes the control frames that belong to no stream.
func (c *Conn) gatherSession(b *batch) {
	d := &c.sched
	if d.echo {
		b.control, d.echo = appendFrame(b.control, kindPong, 0, c.pings.echo[:]), false
	}
	if d.ping {
		now := c.pings.ping(c.clock())
		b.control, d.ping = appendFrame(b.control, kindPing, 0, now[:]), false
	}
	if d.away != nil {
		b.control, d.away = appendReason(b.control, kindGoAway, 0, *d.away), nil
	}
	n := 0
	for n < len(d.refusals) && b.room() > headerSize+1+maxReason {
		r := d.refusals[n]
		b.control = appendReason(b.control, kindRefuse, r.id, Refusal{Code: r.code, Reason: r.reason})
		n++
	}
	if d.refusals = d.refusals[n:]; len(d.refusals) == 0 {
		d.refusals = nil
	}
}

// gatherStreams takes data, stream after stream.
func (c *Conn) gatherStreams(b *batch) {
	d := &c.sched
	for b.room() > 2*headerSize+1 {
		from := &d.fresh
		if from.head == nil {
			from = &d.old
		}
		if from.head == nil {
			return
		}
		s := from.head
		if s.deficit <= 0 {
			s.deficit += quantum
			d.old.push(from.pop(byData), byData)
			continue
		}
		alone := d.fresh.head == d.fresh.tail && d.old.head == d.old.tail && (d.fresh.head == nil || d.old.head == nil)
		if s.give(b, alone) {
			from.pop(byData)
			s.ready = false
		}
		s.wakeWriters()
	}
}

// give moves data into the batch, as much as the stream's turn and the batch allow,
// and says whether the stream has nothing left.
func (s *Stream) give(b *batch, alone bool) bool {
	most := s.deficit
	if alone {
		most = batchSize
	}
	for s.out.size > 0 && most > 0 {
		n := min(s.out.head.len(), most, b.room())
		if n <= 0 {
			break
		}
		s.takeOut(b, n)
		most -= n
		s.deficit -= n
	}
	if s.out.size > 0 {
		return false
	}
	if s.finWanted && !s.finSent {
		if b.room() < 4*headerSize {
			return false
		}
		s.finish(b)
	}
	return true
}

// takeOut moves n bytes of the first chunk into the batch.
func (s *Stream) takeOut(b *batch, n int) {
	c := s.conn
	first := s.out.head
	body := first.bytes()[:n]
	if n == first.len() {
		b.data(kindData, s.id, body, s.out.pop())
	} else {
		b.data(kindData, s.id, body, nil)
		first.off += n
		s.out.size -= n
	}
	c.sched.queued -= n
	c.budget.drop(int64(n))
	c.stats.BytesOut += uint64(n)
}

// finish adds FIN, and for a stream whose reader is gone as well, that.
func (s *Stream) finish(b *batch) {
	b.data(kindFin, s.id, nil, nil)
	s.finSent = true
	if s.closed && !s.finGot {
		b.data(kindReset, s.id, closedReset, nil)
		s.conn.detach(s)
		s.forget()
	} else if s.finGot {
		s.conn.detach(s)
	}
}

// closedReset is the payload of a reset that only says that nobody reads.
var closedReset = []byte{byte(Closed)}

// marks are the control frames that a stream has to send.
type marks uint8

const (
	markOpen marks = 1 << iota
	markAccept
	markRefuse
	markWindow
	markReset
)

// encode appends the control frames that a stream has to send.
func (s *Stream) encode(b *batch) {
	m := s.marks
	s.marks = 0
	if m&markOpen != 0 && s.opening != nil {
		var fixed [openFixed]byte
		binary.BigEndian.PutUint32(fixed[:], s.opening.milliseconds())
		binary.BigEndian.PutUint32(fixed[4:], uint32(s.granted))
		b.control = appendFrame(b.control, kindOpen, s.id, fixed[:], s.opening.target)
		s.opening.target = nil
	}
	if m&markAccept != 0 {
		b.control = appendNumber(b.control, kindAccept, s.id, uint32(s.granted))
	}
	if m&markRefuse != 0 {
		b.control = appendReason(b.control, kindRefuse, s.id, *s.reply)
	}
	if m&markWindow != 0 {
		if more := s.grant(); more > 0 {
			b.control = appendNumber(b.control, kindWindow, s.id, uint32(more))
		}
	}
	if m&markReset != 0 {
		b.control = appendReason(b.control, kindReset, s.id, *s.reply)
	}
}
