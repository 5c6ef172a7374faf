package mesh

import (
	"net/netip"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// Explanation is how a pair sends, and why not better.
type Explanation struct {
	Node, Peer string
	Rung       Rung
	Slot       uint8
	Endpoint   netip.AddrPort // on a sealed rung that is not relayed
	Via        Via            // on a relayed one
	Since      time.Time
	Down       bool // nothing answers
	RTT        time.Duration
	Loss       float64   // 0 to 1
	MTU        int       // bytes; 0: not known
	Probed     bool      // the MTU is an answer's
	Narrow     bool      // the MTU is too little for IPv6, which both ends have: it is refused
	Handshake  time.Time // WireGuard's last, on a sealed rung; zero: none
	NAT, Peers [2]intent.NAT
	Rungs      []Verdict // from the best
	Tried      []Tried
	Climb      string // what would help; empty: nothing is to be gained
	Port       string // on what the node listens where that is not the cluster's, in words
	// Preshared is how the pair stands with its pre-shared key, in words; empty where
	// none is wished. Key is its SHA-256, of the tunnel with the WireGuard keys Ends
	// (own, the peer's), and Confirmed the last handshake that was made with it.
	Preshared string
	Key       [32]byte
	KeySlot   uint8
	Ends      [2]intent.Key
	Confirmed time.Time
}

// Verdict is what is known of one rung.
type Verdict struct {
	Rung   string
	Result string // IN USE, works, no, no reply, refused, failed or off
	Why    string
}

// Tried is a candidate of the peer, or a relay.
type Tried struct {
	Addr            netip.AddrPort // zero over a relay
	Via             Via
	Slot            uint8
	Source          intent.Source
	Probes, Answers int
	RTT             time.Duration
	Works           bool
	Why             string // our own kernel's refusal to send
}

// Results of a rung.
const (
	resultUse     = "IN USE"
	resultWorks   = "works"
	resultNo      = "no"
	resultSilent  = "no reply"
	resultRefused = "refused"
	resultFailed  = "failed"
	resultOff     = "off"
)

// Explain tells how the node sends to a peer, and false of a peer that is not known.
func (m *Machine) Explain(peer string, now time.Time) (Explanation, bool) {
	p, ok := m.pairs[peer]
	if !ok {
		return Explanation{}, false
	}
	e := Explanation{
		Node: m.self, Peer: peer, Rung: p.choice.Rung, Slot: p.choice.Slot, Since: p.since,
		NAT: [2]intent.NAT{m.me.NAT4, m.me.NAT6}, Peers: [2]intent.NAT{p.peer.NAT4, p.peer.NAT6},
	}
	if l := p.at; l != nil {
		e.Down, e.RTT, e.Loss, e.MTU, e.Probed = !l.up && !p.proving(now), l.rtt, l.loss, l.mtu.mtu(), l.mtu.probed()
		e.Narrow = e.MTU > 0 && e.MTU < intent.MinMTU6 && p.both(false)
	} else {
		e.Down = true
	}
	t := p.talk()
	if t != nil && t.cur != nil && e.Rung.Sealed() {
		e.Endpoint, e.Via, e.Handshake = t.cur.addr, t.cur.via, t.device.Handshake
	}
	e.Rungs = []Verdict{
		p.clear(&p.lines[lineDirect], now), p.clear(p.vxlan(), now),
		p.reach(t, WireGuard, now), p.reach(t, Punched, now), p.relay(t, ByNode, now), p.relay(t, ByServer, now),
	}
	e.Tried = p.tried()
	if t := p.shown(); t != nil {
		e.Preshared, e.Key, e.KeySlot, e.Ends, e.Confirmed = t.locked(), t.psk.Key, t.slot, t.keys, t.device.Handshake
	}
	e.Climb = p.help(t, now)
	return e, true
}

// both tells whether both ends have addresses of a family inside.
func (p *pair) both(is4 bool) bool {
	_, here := p.m.me.FabricOf(is4)
	_, there := p.peer.FabricOf(is4)
	return here && there
}

// talk is the tunnel that the pair uses, or would.
func (p *pair) talk() *tunnel {
	if t := p.tunnel(p.at); t != nil {
		return t
	}
	return p.tunnel(p.firstSlot())
}

func (p *pair) vxlan() *line {
	if s := &p.lines[lineSpare]; s.now || s == p.at {
		return s
	}
	return &p.lines[lineVXLAN]
}

// proving tells whether the pair has just begun: nothing was asked for long enough to
// say that it does not answer. WireGuard asks again for a session after 5 s (WireGuard,
// section 6.4, Rekey-Timeout).
func (p *pair) proving(now time.Time) bool {
	return p.at != nil && !p.at.up && p.at.answers == 0 && now.Sub(p.entered) < 6*time.Second
}

// tried lists the trails of all tunnels.
func (p *pair) tried() (out []Tried) {
	for s := range p.tunnels {
		for _, r := range p.tunnels[s].trails {
			out = append(out, Tried{
				Addr: r.addr, Via: r.via, Slot: uint8(s), Source: r.source, Probes: r.probes, Answers: r.answers,
				RTT: r.rtt, Works: r.up, Why: r.why,
			})
		}
	}
	return out
}
