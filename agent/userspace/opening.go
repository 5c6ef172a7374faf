package userspace

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/conn"
)

// WireGuard asks for a session with one packet, and again only after 5 s
// (REKEY_TIMEOUT, wireguard.com/papers/wireguard.pdf, section 6.1). A pair whose first
// such packet is lost, because the other end does not know the peer yet or a router is
// not open yet, is dark for as long; and so is one whose two ends ask at the same time:
// each answers the other and takes no answer itself. So
//
//   - what asks is sent again, as it is, until it is answered. Who has had it throws it
//     away by its timestamp (section 5.1);
//   - who is asked again what it has answered sends that answer again;
//   - of two that cross, the one with the lower ephemeral key counts, which both ends see.
//     Who asks knows by now who it asks, so the one that counts is sent to it again at once.
//
// Of two nodes that meet, one knows the other up to a second before it is known itself,
// more where machines are busy: whatever is sent until then is lost. So for the first 5 s
// the pause between two stays short: 13 packets of 148 bytes, 2.6 a second and pair. An
// address that has not answered in that time is asked as before, 0.8 times a second; and
// all together are at most mostAgain in againEvery, 1,280 a second, however many are dark.
const (
	openingType, openingSize = 1, 148 // section 5.4.2
	answerType, answerSize   = 2, 92  // section 5.4.3

	againFirst = 200 * time.Millisecond // pause before it is sent again, doubled each time
	againMost  = 400 * time.Millisecond // the longest, to an address that was not asked in vain before
	againTimes = 3                      // to one that was
	againLeast = 100 * time.Millisecond // between two of one
	crossing   = time.Second            // for which one that is asked may ignore who asks
	forgotten  = 5 * time.Second        // WireGuard asks anew
	vain       = 8 * time.Second        // what was not answered counts for the next: some time after WireGuard asks anew
	againEvery = 50 * time.Millisecond

	mostOpenings = 4096 // that are remembered
	mostAgain    = 64   // that are sent again at once
)

// openings are the packets that ask for sessions, and what answered them, by the
// address that they went to.
type openings struct {
	send func(packet []byte, to netip.AddrPort)

	mu     sync.Mutex
	asked  map[netip.AddrPort]*opening
	given  map[netip.AddrPort]answer
	timer  *time.Timer // nil: nothing is remembered
	closed bool
}

// opening is a packet that asks, and has no answer yet.
type opening struct {
	packet [openingSize]byte
	at     time.Time
	last   time.Time // sent
	times  int       // that it was sent again
	late   bool      // the one before was not answered either
}

// due tells whether it is to be sent again.
func (o *opening) due(now time.Time) bool {
	if now.Sub(o.at) >= forgotten || o.late && o.times >= againTimes {
		return false
	}
	pause := againFirst << min(o.times, againTimes)
	if !o.late {
		pause = min(pause, againMost)
	}
	return now.Sub(o.last) >= pause
}

func (o *opening) index() uint32 { return binary.LittleEndian.Uint32(o.packet[4:]) }

// ephemeral is the key of a packet that asks.
func ephemeral(b []byte) []byte { return b[8:40] }

// answer is what was sent to who asked.
type answer struct {
	packet [answerSize]byte
	at     time.Time
}

// index is that of the packet which it answers.
func (a *answer) index() uint32 { return binary.LittleEndian.Uint32(a.packet[8:]) }

func newOpenings(send func([]byte, netip.AddrPort)) *openings {
	return &openings{send: send, asked: map[netip.AddrPort]*opening{}, given: map[netip.AddrPort]answer{}}
}

// is tells whether a packet is of a type, whose numbers have three bytes of zero behind
// them.
func is(b []byte, kind byte, size int) bool {
	return len(b) == size && b[0] == kind && b[1] == 0 && b[2] == 0 && b[3] == 0
}

// sent takes notice of what the device sends.
func (o *openings) sent(bufs [][]byte, to conn.Endpoint) {
	for _, b := range bufs {
		if !is(b, openingType, openingSize) && !is(b, answerType, answerSize) {
			continue
		}
		addr, err := netip.ParseAddrPort(to.DstToString())
		if err != nil {
			continue
		}
		o.mu.Lock()
		o.note(b, addr)
		o.mu.Unlock()
	}
}

func (o *openings) note(b []byte, to netip.AddrPort) {
	if o.closed || len(o.asked)+len(o.given) >= mostOpenings {
		return
	}
	now := time.Now()
	if b[0] == answerType {
		o.given[to] = answer{[answerSize]byte(b), now}
	} else {
		o.asked[to] = &opening{packet: [openingSize]byte(b), at: now, last: now, late: o.asked[to] != nil}
	}
	if o.timer == nil {
		o.timer = time.AfterFunc(againEvery, o.tick)
	}
}

// came takes notice of a packet that came, and tells whether the device is to have it.
func (o *openings) came(b []byte, from conn.Endpoint) bool {
	if !is(b, openingType, openingSize) && !is(b, answerType, answerSize) {
		return true
	}
	addr, err := netip.ParseAddrPort(from.DstToString())
	if err != nil {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	own := o.asked[addr]
	if b[0] == answerType {
		if own != nil && own.index() == binary.LittleEndian.Uint32(b[8:]) {
			delete(o.asked, addr)
		}
		return true
	}
	index := binary.LittleEndian.Uint32(b[4:])
	if a, ok := o.given[addr]; ok && a.index() == index {
		o.send(a.packet[:], addr)
		return true
	}
	if own == nil {
		return true
	}
	now := time.Now()
	if bytes.Compare(ephemeral(own.packet[:]), ephemeral(b)) < 0 && now.Sub(own.at) < crossing {
		if now.Sub(own.last) >= againLeast {
			o.again(own, addr, now)
		}
		return false
	}
	delete(o.asked, addr)
	return true
}

// again sends once more what asks.
func (o *openings) again(p *opening, to netip.AddrPort, now time.Time) {
	p.times, p.last = p.times+1, now
	o.send(p.packet[:], to)
}

// tick sends again what is due, and comes again while anything is remembered.
func (o *openings) tick() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	now, left := time.Now(), mostAgain
	for to, p := range o.asked {
		switch {
		case now.Sub(p.at) >= vain:
			delete(o.asked, to)
		case left > 0 && p.due(now):
			left--
			o.again(p, to, now)
		}
	}
	for to, a := range o.given {
		if now.Sub(a.at) >= forgotten {
			delete(o.given, to)
		}
	}
	if o.timer = nil; len(o.asked)+len(o.given) > 0 {
		o.timer = time.AfterFunc(againEvery, o.tick)
	}
}

// open and close begin and end with the sockets. Nothing is sent after close.
func (o *openings) open() {
	o.mu.Lock()
	o.closed = false
	o.mu.Unlock()
}

func (o *openings) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	clear(o.asked)
	clear(o.given)
	if o.timer != nil {
		o.timer.Stop()
		o.timer = nil
	}
}
