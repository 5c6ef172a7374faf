package push

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/proto/egress"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Bounds on what a node says of dials through it.
const (
	maxAnnounced    = 64
	maxHostPorts    = 64
	announceSubject = "announced prefix"
)

// readEgress reads what a report says of dials through the node.
func readEgress(spec *kind.ReportSpec, r *weftv1.NodeReport) error {
	if n := len(r.GetAnnouncedPrefixes()); n > maxAnnounced {
		return fmt.Errorf("announced_prefixes: %d; at most %d", n, maxAnnounced)
	}
	if n := len(r.GetHostPorts()); n > maxHostPorts {
		return fmt.Errorf("host_ports: %d; at most %d", n, maxHostPorts)
	}
	for _, t := range r.GetAnnouncedPrefixes() {
		p, err := netip.ParsePrefix(t)
		if err != nil || p != p.Masked() || p.Addr().Is4In6() {
			return fmt.Errorf("announced_prefixes: %.60q is not a prefix", t)
		}
		if err := ipam.Special(p); err != nil {
			return fmt.Errorf("announced_prefixes: %w", err)
		}
		spec.Announced = append(spec.Announced, p)
	}
	for _, port := range r.GetHostPorts() {
		if port < 1 || port > 65535 {
			return fmt.Errorf("host_ports: %d is no port", port)
		}
		spec.HostPorts = append(spec.HostPorts, uint16(port))
	}
	return nil
}

// announces keeps what a node says that it answers for, and notes what of it is
// leased to another.
func (s *stream) announces(spec kind.ReportSpec, bad error) {
	if bad != nil {
		return // the last good report stands
	}
	s.hub.land.says(s.name, spec.Announced)
	if s.hub.judge(s.node, spec.Announced) {
		s.hub.observed.node(s.node)
	}
}

// judge notes the first prefix of a node that overlaps another's lease, and says
// whether that is news. Nobody answers for another's addresses: dials go to the
// lease.
func (h *Hub) judge(n *node, announced []netip.Prefix) bool {
	var err error
	for _, p := range announced {
		if of, other := h.land.overlap(n.name, p); other {
			err = fmt.Errorf("%v does not count: node %s has the lease %v in it", p, of.Node, of.Prefix)
			break
		}
	}
	return n.note(announceSubject, err, "on the node: announce (--announce-prefix) only what its own pods have")
}

// judgeAgain looks at all nodes that announce something: leases have changed.
func (h *Hub) judgeAgain() {
	for name, announced := range h.land.all() {
		h.mu.RLock()
		n := h.nodes[name]
		h.mu.RUnlock()
		if n == nil {
			h.land.says(name, nil)
		} else if h.judge(n, announced) {
			h.observed.node(n)
		}
	}
}

// land is whose each lease is, and what nodes announce. No two leases overlap. It is
// safe for concurrent use.
type land struct {
	mu     sync.Mutex
	leases map[string][]netip.Prefix // by node
	said   map[string][]netip.Prefix // by node that announces something
	sorted []egress.Held             // the leases, by their first address
	stale  bool                      // sorted is
}

// take brings changes in, and says whether a lease is among them.
func (l *land) take(events []store.Event) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leases == nil {
		l.leases = map[string][]netip.Prefix{}
	}
	for _, e := range events {
		k, _, node, ok := kind.ParseKey(e.Key)
		if !ok || k != kind.Lease {
			continue
		}
		var spec kind.LeaseSpec
		if e.Value != nil {
			if _, err := kind.Decode(e.Value, &spec); err != nil {
				continue // compile's problem
			}
		}
		changed = changed || !slices.Equal(l.leases[node], spec.Prefixes)
		if l.leases[node] = spec.Prefixes; spec.Prefixes == nil {
			delete(l.leases, node)
		}
	}
	l.stale = l.stale || changed
	return changed
}

// says keeps what a node announces; nothing forgets it. An agent may speak before
// the first leases are taken.
func (l *land) says(node string, announced []netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(announced) == 0 {
		delete(l.said, node)
		return
	}
	if l.said == nil {
		l.said = map[string][]netip.Prefix{}
	}
	l.said[node] = announced
}

// all is what nodes announce.
func (l *land) all() map[string][]netip.Prefix {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.said)
}

// overlap finds a lease of another node that a prefix overlaps.
func (l *land) overlap(node string, p netip.Prefix) (egress.Held, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stale {
		l.sort()
	}
	i, _ := slices.BinarySearchFunc(l.sorted, p.Addr(), func(h egress.Held, a netip.Addr) int { return h.Prefix.Addr().Compare(a) })
	for i = max(i-1, 0); i < len(l.sorted); i++ { // the one before may hold all of it
		h := l.sorted[i]
		if h.Prefix.Overlaps(p) && h.Node != node {
			return h, true
		}
		if h.Prefix.Addr().Compare(ipam.Last(p)) > 0 {
			break
		}
	}
	return egress.Held{}, false
}

func (l *land) sort() {
	l.sorted, l.stale = l.sorted[:0], false
	for node, prefixes := range l.leases {
		for _, p := range prefixes {
			l.sorted = append(l.sorted, egress.Held{Node: node, Prefix: p})
		}
	}
	slices.SortFunc(l.sorted, func(a, b egress.Held) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
}
