package push

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Bounds on what one stream may claim, and times of it.
const (
	maxClaims     = 1 << 14 // peers
	maxClaimBytes = 16 << 20
	claimWork     = 10 * time.Second // of writing them
	claimAround   = 3 * time.Second  // until they come around

	backoffSettling = 2  // seconds, for an agent that cannot say what it carries
	backoffClaim    = 10 // seconds, for a node whose lease is another's
)

// foreign tells whether an agent comes from another epoch.
func (h *Hub) foreign(hello *weftv1.Hello) bool {
	return h.cfg.Learner != nil && hello.GetEpoch() != "" && hello.GetEpoch() != h.cfg.Epoch
}

// lease gets the node what it had, or something new. A status error means that
// the agent was told why it is not let in.
func (s *stream) lease(ctx context.Context, hello *weftv1.Hello) error {
	h := s.hub
	if !h.foreign(hello) {
		_, err := h.cfg.Leases.Acquire(ctx, s.name, carried(hello.GetReport()))
		if err == nil {
			h.awaitPeer(s.ctx, s.name)
		}
		return err
	}
	given, err := h.cfg.Learner.Return(ctx, kind.Claim{Node: s.name, Prefixes: carried(hello.GetReport()), Epoch: hello.GetEpoch(), Revision: hello.GetRevision()})
	if claim := (kind.ClaimError{}); errors.As(err, &claim) {
		s.node.note(leaseSubject, claim, claim.Do())
		h.observed.node(s.node)
		h.cfg.Log.Error("agent not let in", note.Node, s.name, note.Err, err, note.Retry, backoffClaim*time.Second)
		return s.sendAway(backoffClaim, codes.FailedPrecondition, err.Error())
	}
	if err != nil {
		return err
	}
	// Before its lease is told, it must be the one that it carries.
	if !h.awaitLease(s.ctx, s.name, given) {
		return s.sendAway(backoffSettling, codes.Unavailable, "the store is slow: what node "+s.name+" carries was not seen in it yet")
	}
	if h.isSettling() && !hello.GetClaims() {
		return s.sendAway(backoffSettling, codes.Unavailable, "the fabric was restored a moment ago and learns leases from agents of this release; yours is known")
	}
	return nil
}

// sentAway tells whether an error is the answer to the agent already.
func sentAway(err error) bool {
	_, ok := status.FromError(err)
	return ok
}

// awaitLease waits until what the node will be sent names its lease.
func (h *Hub) awaitLease(ctx context.Context, name string, given []netip.Prefix) bool {
	return h.await(ctx, func() bool {
		h.mu.RLock()
		o, ok := h.objects[ref{intent.CollectionPeers, intent.PeerKey(name)}]
		h.mu.RUnlock()
		if !ok {
			return false
		}
		p, err := intent.DecodePeer(o.Value)
		return err == nil && slices.Equal(p.Lease, given)
	})
}

// await waits for something that the store's watch brings, but not for ever.
func (h *Hub) await(ctx context.Context, seen func() bool) bool {
	late := time.NewTimer(claimAround)
	defer late.Stop()
	for {
		moved := h.moved.next()
		if seen() {
			return true
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		case <-late.C:
			return false
		}
	}
}

// here tells whether a node has a stream to this server.
func (h *Hub) here(name string) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.streams[name] != nil
}

func (h *Hub) isSettling() bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.settling
}

// Settled says that leases are learned: agents are told, and take what they were
// sent as it is.
func (h *Hub) Settled() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.settling {
		return
	}
	h.settling = false
	for _, s := range h.streams {
		s.retell(false)
	}
}

// retell has Complete sent once more.
func (s *stream) retell(claimed bool) {
	s.mu.Lock()
	s.dues.again, s.claimed = true, s.claimed || claimed
	s.mu.Unlock()
	s.kick()
}

func (s *stream) hasClaimed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claimed
}

// claim takes a part of what the agent carries of others. After the last it is
// written, and the agent is told when that has come around: what it is sent then
// holds all that nobody else has a better right to.
func (s *stream) claim(m *weftv1.Claims) error {
	for _, b := range m.GetPeers() {
		s.carried += len(b)
		if len(s.claims) >= maxClaims || s.carried > maxClaimBytes {
			return refuse(codes.ResourceExhausted, "more than %d peers or %d bytes are claimed", maxClaims, maxClaimBytes)
		}
		c, err := readClaim(b, m.GetRevision())
		if err != nil {
			return refuse(codes.InvalidArgument, "claims: %v", err)
		}
		c.Epoch = m.GetEpoch()
		if c.Node != s.name && !s.hub.here(c.Node) { // who is here speaks for itself
			s.claims = append(s.claims, c)
		}
	}
	if !m.GetLast() {
		return nil
	}
	claims := s.claims
	s.claims, s.carried = nil, 0
	if len(claims) > 0 && s.hub.cfg.Learner != nil && s.hub.isSettling() {
		if err := s.adopt(claims); err != nil {
			return refuse(codes.Unavailable, "what node %s claims of others was not stored: %v", s.name, err)
		}
	}
	s.retell(true)
	return nil
}

func (s *stream) adopt(claims []kind.Claim) error {
	ctx, cancel := context.WithTimeout(s.ctx, claimWork)
	defer cancel()
	revision, refused, err := s.hub.cfg.Learner.Adopt(ctx, claims)
	if err != nil {
		return err
	}
	for _, r := range refused {
		s.hub.cfg.Log.Warn("claim not taken", note.Node, r.Node, note.Lease, r.Prefix, note.Why, r.Cause, note.Of, r.Owner)
	}
	if !s.hub.await(ctx, func() bool { return s.hub.Revision() >= revision }) {
		return errors.New("it was not seen in the store yet")
	}
	return nil
}

// readClaim is the only validation of what an agent says of others.
func readClaim(b []byte, revision int64) (kind.Claim, error) {
	p, err := intent.DecodePeer(b)
	if err != nil {
		return kind.Claim{}, err
	}
	if len(p.Lease) > maxCarried || len(p.Underlay) > maxAddresses {
		return kind.Claim{}, fmt.Errorf("peer %s has %d prefixes and %d addresses", p.Name, len(p.Lease), len(p.Underlay))
	}
	if err := checkLabels(p.Labels); err != nil {
		return kind.Claim{}, err
	}
	c := kind.Claim{Node: p.Name, Prefixes: p.Lease, Labels: p.Labels, Revision: revision}
	if p.VTEP != (intent.MAC{}) {
		c.Report.VTEP = p.VTEP.String()
	}
	for _, u := range p.Underlay {
		c.Report.Addresses = append(c.Report.Addresses, kind.ReportAddress{Address: u.Addr, Device: u.Device, MTU: u.MTU})
	}
	if err := keepMesh(&c.Report, p); err != nil {
		return kind.Claim{}, fmt.Errorf("peer %s: %w", p.Name, err)
	}
	return c, nil
}
