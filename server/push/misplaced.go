package push

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/server/kind"
)

// Subjects of problems.
const (
	addressSubject = "node address"
	leaseSubject   = "lease"
)

// misplaced notes that a node's own address has come to lie in the cluster's ranges:
// pods and nodes would answer for each other. A new node gets no lease then; one
// that has a lease keeps it, and a person has to act.
func (s *stream) misplaced(spec kind.ReportSpec, bad error) {
	if bad != nil {
		return
	}
	err := s.hub.inRanges(spec)
	if s.node.note(addressSubject, err, "give the node another address (--node-ip), or take the range out of ClusterConfig/default") {
		s.hub.observed.node(s.node)
	}
}

func (h *Hub) inRanges(report kind.ReportSpec) error {
	for _, a := range report.Addresses {
		if p, in := h.ranges(a.Address.Addr()); in {
			return fmt.Errorf("its address %v on %s lies in %v, which belongs to pods or services", a.Address.Addr(), a.Device, p)
		}
	}
	return nil
}

// ranges finds the range of pods or services that an address lies in.
func (h *Hub) ranges(a netip.Addr) (netip.Prefix, bool) {
	e, ok := h.cfg.Mirror.Get(kind.Key(kind.ClusterConfig, "", kind.DefaultName))
	var spec kind.ClusterConfigSpec
	if !ok {
		return netip.Prefix{}, false
	} else if _, err := kind.Decode(e.Value, &spec); err != nil {
		return netip.Prefix{}, false // compile's problem
	}
	for _, p := range slices.Concat(spec.ClusterCIDRs, spec.ServiceCIDRs) {
		if p.Contains(a) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}
