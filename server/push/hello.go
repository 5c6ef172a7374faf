package push

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Times of letting an agent in.
const (
	letInWait  = 3 * time.Second // for its turn: an agent waits 10 s for all of this
	letInWork  = 5 * time.Second // lease and report
	comeAround = time.Second     // what was written, by way of the store's watch
	// How long an agent is sent away, seconds: when too many come, when there is no
	// lease left, and when nobody could be asked for one: a store without a quorum, a
	// leader that is not elected yet.
	backoffOverload = 2
	backoffLease    = 5
	backoffNobody   = 1
)

// maxText bounds each text of a hello, in bytes.
const maxText = 256

// open lets an agent in: it is who it says, it has a lease, its report is
// stored, and from now on it is sent what changes.
func (s *stream) open(hello *weftv1.Hello) error {
	if err := s.identify(hello); err != nil {
		return err
	}
	if err := s.fits(hello); err != nil {
		return err
	}
	if err := s.contest(); err != nil {
		return err
	}
	s.answers = hello.GetQuestions() > 0
	s.meshes = slices.Contains(hello.GetReport().GetCapabilities(), intent.CapabilityMesh)
	s.knows = understood(hello.GetCollections())
	s.takesServers = hello.GetTakesServers()
	s.manner = manner{versionFor(s.knows), hello.GetBatches(), hello.GetBatches() || hello.GetDigest() != 0}
	if err := s.turn(); err != nil {
		return err
	}
	s.trusts(hello.GetRoots())
	err := s.settle(hello)
	<-s.hub.hellos
	if err != nil {
		return err
	}
	if err := s.hub.enter(s, hello); err != nil {
		return err
	}
	if s.owes {
		s.hub.work.start(func() { s.owe(carried(hello.GetReport())) })
	}
	return nil
}

func (s *stream) identify(hello *weftv1.Hello) error {
	name, err := s.hub.cfg.Identify(s.ctx)
	if err != nil {
		if _, ok := status.FromError(err); ok {
			return err
		}
		return refuse(codes.Unauthenticated, "no node's certificate: %v", err)
	}
	if name != hello.GetNode() {
		return refuse(codes.PermissionDenied, "the certificate is node %s's, and it may not speak for %q", name, hello.GetNode())
	}
	for _, t := range []string{hello.GetMachine(), hello.GetBoot(), hello.GetVersion(), hello.GetEpoch(), hello.GetInstance()} {
		if len(t) > maxText {
			return refuse(codes.InvalidArgument, "hello has a text of %d bytes; at most %d are taken", len(t), maxText)
		}
	}
	s.streams = hello.GetStream()
	s.name, s.speaker = name, speaker{machine: hello.GetMachine(), boot: hello.GetBoot(), instance: hello.GetInstance()}
	if p, ok := peer.FromContext(s.ctx); ok && p.Addr != nil {
		s.remote = p.Addr.String()
		if at, err := netip.ParseAddrPort(s.remote); err == nil {
			s.speaker.addr = at.Addr()
		}
	}
	return nil
}

// turn waits until few enough others are being let in.
func (s *stream) turn() error {
	late := time.NewTimer(letInWait)
	defer late.Stop()
	select {
	case s.hub.hellos <- struct{}{}:
		return nil
	case <-s.ctx.Done():
		return s.reason()
	case <-late.C:
		return s.sendAway(backoffOverload, codes.ResourceExhausted, "too many agents come at once")
	}
}

// sendAway asks the agent to come back later, and says why.
func (s *stream) sendAway(seconds uint32, code codes.Code, why string) error {
	told := make(chan struct{})
	late := time.NewTimer(letInWait) // for an agent that does not read
	defer late.Stop()
	if s.hub.work.start(func() { defer close(told); _ = s.wire.Send(backoff(seconds, why)); _ = s.wire.Flush() }) {
		select {
		case <-told:
		case <-late.C:
		}
	}
	return status.Error(code, why)
}

// settle gets the node its lease and stores its report. While the store is away,
// a node that is known already is let in all the same: it only follows then.
func (s *stream) settle(hello *weftv1.Hello) error {
	spec, err := readReport(hello.GetReport())
	if err != nil {
		return refuse(codes.InvalidArgument, "hello's report: %v", err)
	}
	ctx, cancel := context.WithTimeout(s.ctx, letInWork)
	defer cancel()
	s.node = s.hub.nodeOf(s.name)
	s.misplaced(spec, nil)
	s.announces(spec, nil)
	s.devices(&spec)
	s.candidates(&spec)
	_, err = s.hub.storeReport(ctx, s.node, spec) // first: a lease depends on the node's addresses
	if err == nil {
		err = s.lease(ctx, hello)
	}
	if err == nil {
		s.refused(nil)
		return nil
	}
	if s.ctx.Err() == nil && sentAway(err) {
		return err
	}
	if s.ctx.Err() != nil {
		return s.reason()
	}
	s.refused(err)
	if s.hub.isPeer(s.name) && !s.hub.foreign(hello) { // what is known may not be what it carries
		s.hub.cfg.Log.Warn("agent let in with what is known", note.Node, s.name, note.Err, err)
		s.later(spec)
		s.owes = true
		return nil
	}
	wait := uint32(backoffNobody)
	if errors.Is(err, ipam.ErrFull) {
		wait = backoffLease
	}
	s.hub.cfg.Log.Warn("agent not let in", note.Node, s.name, note.Err, err, note.Retry, time.Duration(wait)*time.Second)
	return s.sendAway(wait, codes.ResourceExhausted, "no lease for node "+s.name+": "+err.Error())
}

// awaitPeer gives what was just written the time to come around, so that the
// agent's first set is whole: it names the node itself.
func (h *Hub) awaitPeer(ctx context.Context, name string) {
	late := time.NewTimer(comeAround)
	defer late.Stop()
	for {
		moved := h.moved.next()
		if h.isPeer(name) {
			return
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return
		case <-late.C:
			return
		}
	}
}

// carried reads the prefixes that a node says it was leased; allocation checks
// whether it may have them.
func carried(r *weftv1.NodeReport) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range r.GetLease() {
		if p, err := netip.ParsePrefix(t); err == nil && p == p.Masked() && len(out) < maxCarried {
			out = append(out, p)
		}
	}
	return out
}

// maxCarried bounds the prefixes that a node can carry along.
const maxCarried = 64

func (h *Hub) isPeer(name string) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	_, ok := h.objects[ref{intent.CollectionPeers, intent.PeerKey(name)}]
	return ok
}

// enter makes a stream the one of its node, and marks what it has to be sent.
func (h *Hub) enter(s *stream, hello *weftv1.Hello) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrStopping
	}
	if h.revision == 0 {
		return errStarting
	}
	if s.ctx.Err() != nil {
		return s.reason() // it went while it was let in
	}
	if old := h.streams[s.name]; old != nil {
		if old.number > s.number {
			return refuse(codes.Aborted, "a newer stream of node %s came meanwhile", s.name)
		}
		h.replaced(s.node, old.speaker, s.speaker)
		old.cut(refuse(codes.Aborted, "another stream of node %s came, from %v; the newest holds", s.name, s.speaker))
	}
	h.streams[s.name] = s
	s.dues = h.missed(s, hello)
	s.entered = h.tick.Load() - 1 // it beats a whole interval from now
	h.nodes[s.name] = s.node      // Cut may have forgotten it
	s.node.came(hello, s.remote, h.cfg.Run)
	h.observed.node(s.node)
	h.moved.send()
	h.progress.send()
	h.crowd.arrived(s.name, "from "+s.speaker.addr.String()+", release "+clip(hello.GetVersion(), maxText))
	h.cfg.Log.Info("agent came", note.Node, s.name, note.Conn, s.remote, note.Rev, hello.GetRevision(), note.Whole, s.dues.whole)
	return nil
}

// missed is where an agent is that comes with what it holds. h.mu is held.
//
// What history does not reach back to, as after a start of this server, a digest
// tells: an agent whose set is the one that it would be sent misses nothing. Else
// it is sent the objects of later revisions, and finds out by itself, by the digest
// in Complete, whether that was all: deletions are in no object.
func (h *Hub) missed(s *stream, hello *weftv1.Hello) due {
	rev, end := hello.GetRevision(), h.history.end()
	if hello.GetEpoch() != h.cfg.Epoch || hello.GetCompileVersion() != s.version || rev > h.revision {
		return due{whole: true, place: end}
	}
	if place, ok := h.history.after(rev); ok {
		return due{place: place}
	}
	if !s.digest || hello.GetDigest() == 0 {
		return due{whole: true, place: end}
	}
	d := due{place: end}
	if hello.GetDigest() == h.digest(s) {
		return d
	}
	for r, o := range h.objects {
		if o.Revision > rev && s.wants(o) {
			d.extra = append(d.extra, r)
		}
	}
	d.whole = 2*len(d.extra) > len(h.objects)
	return d
}

// nodeOf answers with what is known of a node since the start.
func (h *Hub) nodeOf(name string) *node {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.nodes[name]
	if n == nil {
		n = newNode(name)
		h.nodes[name] = n
	}
	return n
}
