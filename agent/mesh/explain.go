package mesh

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
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
	Handshake  time.Time // WireGuard's last, on a sealed rung; zero: none
	NAT, Peers [2]intent.NAT
	Rungs      []Verdict // from the best
	Tried      []Tried
	Climb      string // what would help; empty: nothing is to be gained
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

// clear is the verdict of a line in the clear.
func (p *pair) clear(l *line, now time.Time) Verdict {
	v := Verdict{Rung: l.over.Rung.String(), Why: l.reason}
	switch {
	case l == p.at && l.up:
		v.Result = resultUse
	case l == p.at && p.proving(now):
		v.Result, v.Why = resultUse, "not proved yet"
	case l == p.at:
		v.Result, v.Why = resultUse, "does not answer, and nothing else does"
	case !l.now:
		v.Result = resultRefused
	case l.up:
		v.Result, v.Why = resultWorks, p.holdOff(&l.health)
	case l.probes == 0:
		v.Result, v.Why = resultNo, "not probed yet"
	case l.why != "":
		v.Result, v.Why = resultNo, l.why
	default:
		v.Result, v.Why = resultNo, p.unanswered(l)
	}
	return v
}

// unanswered names the probe that nobody answered.
func (p *pair) unanswered(l *line) string {
	from, to, dev := p.ends()
	if l.over.Rung == Direct {
		return fmt.Sprintf("no shared L2: no reply to %d probes from %v to %v on %s", l.probes, from, to, dev)
	}
	return fmt.Sprintf("no reply to %d probes from %v to %v", l.probes, from, to)
}

func (p *pair) ends() (from, to netip.Addr, dev string) {
	for _, a := range p.m.me.Fabric() {
		if b, ok := p.peer.FabricOf(a.Is4()); ok {
			from, to = a, b
			break
		}
	}
	if len(p.m.me.Underlay) > 0 {
		dev = p.m.me.Underlay[0].Device
	}
	return from, to, dev
}

// holdOff says why a way that works is not used.
func (p *pair) holdOff(h *health) string {
	switch {
	case h.deaths > 0:
		return fmt.Sprintf("answers; it died %d times in use, so it must stay for %v", h.deaths, h.need())
	case h.stable.IsZero() || h.misses > 0:
		return "answers, but not always"
	}
	return fmt.Sprintf("answers, rtt %s", millis(h.rtt))
}

// sealedOff is the verdict where a pair has no tunnel.
func (p *pair) sealedOff(v Verdict) Verdict {
	v.Result, v.Why = resultRefused, p.lines[lineWG].reason
	return v
}

// reach is the verdict of WireGuard straight to an address.
func (p *pair) reach(t *tunnel, rung Rung, now time.Time) Verdict {
	v := Verdict{Rung: rung.String()}
	switch {
	case t == nil:
		return p.sealedOff(v)
	case p.meets():
		v.Result, v.Why = resultOff, "topology site-gateways: the pair meets over "+strings.Join(p.gateways(), ", ")
		return v
	case p.using(t, rung):
		v.Result, v.Why = resultUse, "endpoint "+t.cur.addr.String()
		switch {
		case p.proving(now):
			v.Why += ", not proved yet"
		case !p.at.up:
			v.Why += ", which does not answer; nothing else does"
		}
		return v
	}
	if r := t.best(func(r *trail) bool { return r.up && t.rung(r) == rung }); r != nil {
		v.Result, v.Why = resultWorks, r.addr.String()+" "+p.holdOff(&r.health)
		return v
	}
	if rung == Punched {
		return p.punched(t, v, now)
	}
	v.Result, v.Why = resultSilent, t.offers()
	return v
}

// using tells whether the pair sends on a rung of a tunnel.
func (p *pair) using(t *tunnel, rung Rung) bool {
	return p.tunnel(p.at) == t && t.cur != nil && t.rung(t.cur) == rung
}

// is4 tells which family's routers are spoken of: that of the node's first address.
func (t *tunnel) is4() bool {
	u := t.pair.m.me.Underlay
	return len(u) == 0 || u[0].Addr.Addr().Is4()
}

// punched is the verdict of a rung on which two routers have to be opened.
func (p *pair) punched(t *tunnel, v Verdict, now time.Time) Verdict {
	is4 := t.is4()
	mine, theirs := p.m.me.NATOf(is4), p.peer.NATOf(is4)
	if mine == intent.NATNone || theirs == intent.NATNone {
		v.Result, v.Why = resultNo, "no router to be opened at both ends"
		return v
	}
	v.Result = resultFailed
	v.Why = fmt.Sprintf("%s %s; %s %s; %d tries, next in %v or when an address changes",
		p.name, natWord(theirs), p.m.self, natWord(mine), t.round.n, max(0, t.round.next.Sub(now)).Round(time.Second))
	return v
}

// natWord is a class as operators call it.
func natWord(n intent.NAT) string {
	switch n {
	case intent.NATNone:
		return "no NAT"
	case intent.NATEasy:
		return "port-preserving NAT"
	case intent.NATHard:
		return "symmetric NAT"
	case intent.NATBlocked:
		return "UDP blocked"
	}
	return "NAT not known"
}

// offers lists what the peer offers, and how it was tried.
func (t *tunnel) offers() string {
	var list []string
	probes, answers := 0, 0
	why := ""
	for _, r := range t.trails {
		if r.relayed() || !r.told || t.rung(r) != WireGuard {
			continue
		}
		word := r.addr.String()
		if r.addr.Addr().IsPrivate() {
			word += " (private)"
		}
		list = append(list, word)
		probes += r.probes
		answers += r.answers
		why = cmp.Or(why, r.why)
	}
	if len(list) == 0 {
		return t.pair.name + " offers no address that can be reached from here"
	}
	out := fmt.Sprintf("%s offers %s (%d probes, %d answers)", t.pair.name, strings.Join(list, ", "), probes, answers)
	if why != "" {
		out += "; " + why
	}
	return out
}

// relay is the verdict of a relayed rung.
func (p *pair) relay(t *tunnel, rung Rung, now time.Time) Verdict {
	v := Verdict{Rung: rung.String()}
	if t == nil {
		return p.sealedOff(v)
	}
	r := t.best(func(r *trail) bool { return t.rung(r) == rung && r.up })
	if p.using(t, rung) {
		r = t.cur
	}
	if r == nil {
		r = t.best(func(r *trail) bool { return t.rung(r) == rung })
	}
	if r == nil {
		v.Result, v.Why = resultOff, p.noRelay(rung)
		return v
	}
	over := r.via.Server + r.via.Node
	v.Rung = "relayed (" + over + ")"
	switch {
	case p.using(t, rung):
		v.Result = resultUse
		switch {
		case p.proving(now):
			v.Why = "not proved yet"
		case !p.at.up:
			v.Why = "does not answer, and nothing else does"
		}
	case r.up:
		v.Result, v.Why = resultWorks, p.holdOff(&r.health)
	default:
		v.Result, v.Why = resultSilent, fmt.Sprintf("%d probes, %d answers", r.probes, r.answers)
	}
	return v
}

func (p *pair) noRelay(rung Rung) string {
	switch {
	case rung == ByNode:
		return fmt.Sprintf("no node carries %s=true", intent.RelayLabel)
	case len(p.m.in.Relays) == 0:
		return "no server's relay is connected"
	}
	return fmt.Sprintf("%s is connected to none of the relays %s", p.name, strings.Join(p.m.in.Relays, ", "))
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

// help says what an operator can do for a better rung.
func (p *pair) help(t *tunnel, now time.Time) string {
	if t == nil || p.at == nil || t.cur == nil && p.at.up {
		return ""
	}
	if t.stuck(now) {
		return fmt.Sprintf("probes of %v are answered and WireGuard is not: the clock of one end went back, or the keys differ; weft rotate keys %s", t.cur.name(), p.m.self)
	}
	if p.rungOf(p.at) <= WireGuard || p.meets() {
		return ""
	}
	open := func(peer intent.Peer) string {
		for _, c := range peer.Candidates {
			a := c.Addr.Addr()
			if c.Source != intent.FromInterface && c.Source != intent.FromExternal || a.IsPrivate() || c.Slot != t.slot {
				continue
			}
			return fmt.Sprintf("open UDP %d inbound to %v at %s's router (the candidate is public, nothing answers)", c.Addr.Port(), a, peer.Name)
		}
		return ""
	}
	for _, n := range [...]intent.Peer{p.peer, p.m.me} {
		if is4 := t.is4(); n.NATOf(is4) == intent.NATBlocked {
			return fmt.Sprintf("let UDP out of the network of %s: nothing of it reaches the servers", n.Name)
		}
	}
	if s := cmp.Or(open(p.peer), open(p.m.me)); s != "" {
		return s
	}
	port := uint16(0)
	if s, ok := p.peer.SlotOf(t.slot); ok {
		port = s.Port
	}
	return fmt.Sprintf("forward UDP %d at the router of %s or of %s, and give the node --node-external-ip", port, p.name, p.m.self)
}

// name is the trail in words.
func (r *trail) name() string {
	if r.relayed() {
		return r.via.Server + r.via.Node
	}
	return r.addr.String()
}

// Text is the page that operators read.
func (e Explanation) Text(now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s -> %s  %s", e.Node, e.Peer, e.title())
	if e.Rung != None {
		fmt.Fprintf(&b, ", since %s (%s)   rtt %s  loss %.1f %%  mtu %d", e.Since.Format(time.TimeOnly), span(now.Sub(e.Since)), millis(e.RTT), 100*e.Loss, e.MTU)
		if e.Probed {
			b.WriteString(" (probed)")
		}
	}
	b.WriteString("\n")
	rows := append([]Verdict{{"RUNG", "RESULT", "WHY"}}, e.Rungs...)
	var wide [2]int
	for _, v := range rows {
		wide[0], wide[1] = max(wide[0], len(v.Rung)), max(wide[1], len(v.Result))
	}
	for _, v := range rows {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-*s  %-*s  %s", wide[0], v.Rung, wide[1], v.Result, v.Why), " ") + "\n")
	}
	if e.Preshared != "" {
		b.WriteString("pre-shared key: " + e.Preshared + "\n")
	}
	if e.Climb != "" {
		b.WriteString("to climb: " + e.Climb + "\n")
	}
	return b.String()
}

// title is the rung in capitals, and over what.
func (e Explanation) title() string {
	out := strings.ToUpper(e.Rung.String())
	if e.Rung == ByServer || e.Rung == ByNode {
		out = "WIREGUARD RELAYED over " + e.Via.Server + e.Via.Node
	}
	if e.Down {
		out += " (does not answer)"
	}
	return out
}

func millis(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

// span is how long, in the unit that counts.
func span(d time.Duration) string {
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd", int(d/(24*time.Hour)))
	case d >= time.Hour:
		return fmt.Sprintf("%dh", int(d/time.Hour))
	case d >= time.Minute:
		return fmt.Sprintf("%dm", int(d/time.Minute))
	}
	return fmt.Sprintf("%ds", int(d/time.Second))
}
