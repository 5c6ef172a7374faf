package push

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
)

const (
	maxCapabilities  = 64
	candidateSubject = "candidates" // of problems
)

// readMesh reads what a report says of the node's WireGuard. What a server has seen
// is a server's to say: of such candidates the node's own word is passed over.
func readMesh(spec *kind.ReportSpec, r *weftv1.NodeReport) error {
	var p intent.Peer
	if err := intent.DecodeMesh(&p, r); err != nil {
		return err
	}
	if n := len(r.GetCapabilities()); n > maxCapabilities {
		return fmt.Errorf("capabilities: %d; at most %d", n, maxCapabilities)
	}
	for _, c := range r.GetCapabilities() {
		if c == "" || len(c) > maxText {
			return fmt.Errorf("capabilities: one of %d bytes: 1 to %d", len(c), maxText)
		}
	}
	spec.Capabilities = r.GetCapabilities()
	return keepMesh(spec, p)
}

// keepMesh takes what was read of a node's WireGuard into what is stored of it.
func keepMesh(spec *kind.ReportSpec, p intent.Peer) error {
	for _, s := range p.Slots {
		spec.Slots = append(spec.Slots, kind.ReportSlot{Slot: s.Slot, Key: s.Key.String(), Port: s.Port, Leaving: s.Leaving})
	}
	for i, c := range p.Candidates {
		if _, there := p.SlotOf(c.Slot); !there {
			return fmt.Errorf("candidates[%d]: %v is of slot %d, and the node reports no WireGuard device there", i, c.Addr, c.Slot)
		}
		if _, what, is := egress.Special(c.Addr.Addr()); is {
			return fmt.Errorf("candidates[%d]: %v is %s: no peer reaches the node there", i, c.Addr, what)
		}
		if c.Source != intent.FromServer {
			spec.Candidates = append(spec.Candidates, kind.ReportCandidate{Address: c.Addr, Slot: c.Slot, Source: c.Source})
		}
	}
	spec.NAT4, spec.NAT6, spec.Relays = p.NAT4, p.NAT6, p.Relays
	return nil
}

// forged refuses candidates by which a node would have others send to what is not its
// own: pods, services, another node's lease.
func (h *Hub) forged(name string, spec kind.ReportSpec) error {
	for i, c := range spec.Candidates {
		if err := h.belongs(name, c.Address.Addr()); err != nil {
			return fmt.Errorf("candidates[%d]: %v lies in %w", i, c.Address, err)
		}
	}
	return nil
}

// belongs tells whose an address is, if it is not the node's own to name.
func (h *Hub) belongs(name string, a netip.Addr) error {
	if of, other := h.land.overlap(name, netip.PrefixFrom(a, a.BitLen())); other {
		return fmt.Errorf("the lease %v of node %s", of.Prefix, of.Node)
	}
	if p, in := h.ranges(a); in {
		return fmt.Errorf("%v, which belongs to pods or services", p)
	}
	return nil
}

// candidates takes what a hello or a report says of candidates. A list with one that is
// forged is refused whole, and named; the last good one stands, for a node that had one.
// All else of the report is taken: with keys that nobody hears of, an address that was
// mistyped would cost the node all its pairs.
func (s *stream) candidates(spec *kind.ReportSpec) {
	err := s.hub.forged(s.name, *spec)
	if err != nil {
		spec.Candidates = s.hub.lastCandidates(s.name, spec.Slots)
	}
	s.seen(spec)
	if s.node.note(candidateSubject, err, "peers keep the last good list; on the node: is --node-external-ip right, and weft-agent what it should be?") {
		s.hub.observed.node(s.node)
	}
}

// lastCandidates are those that are stored of a node, of slots that it still has.
func (h *Hub) lastCandidates(name string, slots []kind.ReportSlot) []kind.ReportCandidate {
	e, ok := h.cfg.Mirror.Get(kind.Key(kind.Report, "", name))
	var spec kind.ReportSpec
	if !ok {
		return nil
	} else if _, err := kind.Decode(e.Value, &spec); err != nil {
		return nil // compile's problem
	}
	return slices.DeleteFunc(spec.Candidates, func(c kind.ReportCandidate) bool {
		return c.Source == intent.FromServer || !slices.ContainsFunc(slots, func(s kind.ReportSlot) bool { return s.Slot == c.Slot })
	})
}

// seen adds where the node's WireGuard may be reached as far as this server sees: its
// agent's address, with the port of the device. That is so of a router that keeps
// ports, and of none at all.
func (s *stream) seen(spec *kind.ReportSpec) {
	a := s.speaker.addr.Unmap().WithZone("")
	if _, _, special := egress.Special(a); !a.IsValid() || special || s.hub.belongs(s.name, a) != nil {
		return
	}
	for _, slot := range spec.Slots {
		at := netip.AddrPortFrom(a, slot.Port)
		known := slices.ContainsFunc(spec.Candidates, func(c kind.ReportCandidate) bool { return c.Slot == slot.Slot && c.Address == at })
		if !known {
			spec.Candidates = append(spec.Candidates, kind.ReportCandidate{Address: at, Slot: slot.Slot, Source: intent.FromServer})
		}
	}
}

// offer tells an agent that knows what to do with it how it asks the echo, and again
// when half of that time is over. It answers false when the stream has ended.
func (s *stream) offer(send func(*weftv1.SyncResponse) bool) bool {
	now := time.Now()
	if s.hub.cfg.Echo == nil || !s.meshes || now.Before(s.offered) {
		return true
	}
	o := s.hub.cfg.Echo(s.name, s.speaker.addr.Unmap(), now)
	if o == nil {
		return true
	}
	s.offered = now.Add(time.Duration(o.GetSeconds()) * time.Second / 2)
	return send(&weftv1.SyncResponse{Message: &weftv1.SyncResponse_Echo{Echo: o}})
}
