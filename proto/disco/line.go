package disco

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
)

// Heard is a packet of the peer's that is authentic.
type Heard struct {
	Kind     Kind
	Fresh    bool // of a ping: it counts, and of a pong: its ping did. One that does not is answered all the same.
	Note     Note
	Number   uint64         // of a pong: that of the ping
	Observed netip.AddrPort // of a pong: where the ping came from, as the peer saw it; zero: over a relay

	session, token uint64
}

// Line is one end of the probes between two WireGuard keys. It is not safe for
// concurrent use.
//
// Our session is drawn with the line. Pongs tell the peer a token that is made for its
// session alone, from a secret of ours; a ping that shows it was sent by somebody who
// has heard us in this life. The first such ping makes its session the peer's: its token
// stands, the secret is drawn anew, and so no token of a session before it counts any
// more. Within a session each number counts once, of pings and of pongs.
type Line struct {
	keys Keys

	session  uint64
	sent     uint64 // number of our last ping
	answered window // numbers of ours
	shown    uint64 // the peer's token for us; 0: not known

	secret [32]byte
	peer   uint64 // the peer's session; 0: none has shown its token
	token  uint64 // ours for it
	window window
}

// NewLine begins a life.
func NewLine(k Keys) *Line {
	l := &Line{keys: k, session: random()}
	_, _ = rand.Read(l.secret[:])
	return l
}

// Ping is the next ping of ours, and its number.
func (l *Line) Ping(n Note) (b []byte, number uint64) {
	l.sent++
	return l.keys.seal(packet{kind: Ping, note: n, session: l.session, number: l.sent, token: l.shown}), l.sent
}

// Pong answers a ping that was heard from an address, the zero one for a relay.
func (l *Line) Pong(ping Heard, from netip.AddrPort, n Note) []byte {
	return l.keys.seal(packet{kind: Pong, note: n, counted: ping.Fresh, observed: from, session: ping.session, number: ping.Number, token: ping.token})
}

// Open reads a packet of the peer's. What does not count is an error; a ping that is
// not fresh is none.
func (l *Line) Open(b []byte) (Heard, error) {
	p, err := l.keys.open(b)
	if err != nil {
		return Heard{}, err
	}
	if p.kind == Pong {
		if p.session != l.session || p.number > l.sent || !l.answered.take(p.number) {
			return Heard{}, ErrReplay
		}
		l.shown = p.token
		return Heard{Kind: Pong, Fresh: p.counted, Note: p.note, Number: p.number, Observed: p.observed}, nil
	}
	h := Heard{Kind: Ping, Note: p.note, Number: p.number, session: p.session}
	h.token = l.tokenFor(p.session)
	if p.token != h.token {
		return h, nil
	}
	if l.peer != p.session {
		l.peer, l.token, l.window = p.session, h.token, window{}
		_, _ = rand.Read(l.secret[:])
	}
	if !l.window.take(p.number) {
		return Heard{}, ErrReplay
	}
	h.Fresh = true
	return h, nil
}

// tokenFor is what a session of the peer's has to show.
func (l *Line) tokenFor(session uint64) uint64 {
	if session == l.peer && l.token != 0 {
		return l.token
	}
	mac := hmac.New(sha256.New, l.secret[:])
	_ = binary.Write(mac, binary.BigEndian, session)
	return binary.BigEndian.Uint64(mac.Sum(nil)) | 1 // never 0, which is none
}

func random() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}

// window remembers which of the last 64 numbers have come.
type window struct {
	last uint64
	seen uint64 // bit i: last - i
}

// take tells whether a number comes for the first time.
func (w *window) take(n uint64) bool {
	switch {
	case n == 0:
		return false
	case n > w.last:
		w.seen = w.seen<<min(n-w.last, 64) | 1
		w.last = n
		return true
	case w.last-n >= 64 || w.seen>>(w.last-n)&1 != 0:
		return false
	}
	w.seen |= 1 << (w.last - n)
	return true
}
