package agent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
)

// Times of what mends tunnels that are refused: how much longer the end with the higher
// name waits than the other, so that one of the two acts, and how soon after new keys
// others may be made, for where these have not helped more will not.
const (
	yields    = 20 * time.Second
	freshKeys = 10 * time.Minute
)

// stuck is what is known of tunnels whose keys or clocks do not agree: see
// mesh.Summary.Stuck. The zero value is of a node that has none.
type stuck struct {
	peers  []string
	since  time.Time // when the first was seen; zero: there is none
	mended time.Time // when new keys were asked for last; zero: never
}

// unstick looks for such tunnels, and tells whether new keys are wanted: the history
// that a peer keeps of timestamps belongs to the key.
func (p *pairs) unstick(now time.Time) bool {
	at := p.at()
	if at == nil {
		return false
	}
	was, s := p.stuck.peers, at.Summary()
	p.hush(s.Silent)
	wants := p.stuck.see(p.node, s.Stuck, now)
	if len(was) == 0 && len(p.stuck.peers) > 0 {
		p.log.Warn("WireGuard refused", note.Node, strings.Join(p.stuck.peers, ","), note.Why, disagree, note.Do, "new keys are made; is the clock right? timedatectl")
	}
	if wants {
		p.asked.Store(true)
	}
	return wants
}

// see takes the peers toward whom tunnels are stuck, and tells whether new keys are
// wanted now.
func (s *stuck) see(self string, peers []string, now time.Time) bool {
	s.peers = peers
	if len(peers) == 0 {
		s.since = time.Time{}
		return false
	}
	if s.since.IsZero() {
		s.since = now
	}
	first := slices.ContainsFunc(peers, func(peer string) bool { return self < peer })
	if !first && now.Sub(s.since) < yields || !s.mended.IsZero() && now.Sub(s.mended) < freshKeys {
		return false
	}
	s.mended = now
	return true
}

// disagree is what is the matter.
const disagree = "probes are answered, handshakes are not: the clock of one end went back, or the keys do not agree"

// mostNamed bounds the peers that a problem names.
const mostNamed = 3

func (s *stuck) problems(self string) []intent.Problem {
	if len(s.peers) == 0 {
		return nil
	}
	return []intent.Problem{{
		Subject: "WireGuard", Cause: "no tunnel to " + some(s.peers) + ": " + disagree,
		Remedy: fmt.Sprintf("nothing, new keys are being made; if it lasts: timedatectl on both, then weft rotate keys %s", self),
	}}
}
