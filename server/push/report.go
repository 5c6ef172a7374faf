package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Bounds on a report.
const (
	maxAddresses  = 64
	maxLabels     = 256
	maxLabelBytes = 64 << 10
	reportSubject = "report" // of problems
)

// readReport is the only validation of what a node says of itself.
func readReport(r *weftv1.NodeReport) (kind.ReportSpec, error) {
	if r == nil {
		return kind.ReportSpec{}, errors.New("is missing")
	}
	if len(r.GetAddresses()) == 0 {
		return kind.ReportSpec{}, errors.New("the node has no address on the network below; on the node: weft status --local")
	}
	if len(r.GetAddresses()) > maxAddresses {
		return kind.ReportSpec{}, fmt.Errorf("%d addresses: at most %d", len(r.GetAddresses()), maxAddresses)
	}
	underlay, err := intent.DecodeUnderlay(r.GetAddresses())
	if err != nil {
		return kind.ReportSpec{}, err
	}
	mac, err := intent.ParseMAC(r.GetVtepMac())
	if err != nil {
		return kind.ReportSpec{}, err
	}
	spec := kind.ReportSpec{Labels: r.GetLabels()}
	if mac != (intent.MAC{}) {
		spec.VTEP = mac.String()
	}
	for _, u := range underlay {
		if a := u.Addr.Addr(); a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
			return kind.ReportSpec{}, fmt.Errorf("addresses: %v is no address that a peer can send to", a)
		}
		spec.Addresses = append(spec.Addresses, kind.ReportAddress{Address: u.Addr, Device: u.Device, MTU: u.MTU})
	}
	if len(r.GetExternalAddresses()) > maxAddresses {
		return kind.ReportSpec{}, fmt.Errorf("%d external addresses: at most %d", len(r.GetExternalAddresses()), maxAddresses)
	}
	for _, t := range r.GetExternalAddresses() {
		a, err := netip.ParseAddr(t)
		if err != nil || a.Is4In6() {
			return kind.ReportSpec{}, fmt.Errorf("external_addresses: %q is not an address", t)
		}
		spec.External = append(spec.External, a)
	}
	if err := errors.Join(readEgress(&spec, r), readMesh(&spec, r)); err != nil {
		return kind.ReportSpec{}, err
	}
	return spec, checkLabels(spec.Labels)
}

func checkLabels(labels map[string]string) error {
	size := 0
	for k, v := range labels {
		size += len(k) + len(v)
	}
	if len(labels) > maxLabels || size > maxLabelBytes {
		return fmt.Errorf("%d labels with %d bytes: at most %d with %d bytes are taken", len(labels), size, maxLabels, maxLabelBytes)
	}
	return nil
}

// report takes a later report in: at once, or, if the last is not long ago, with
// the observations, because each one wakes every agent. A bad one is a problem of
// the node, and the last good one stands.
func (s *stream) report(r *weftv1.NodeReport) {
	spec, err := readReport(r)
	if err == nil {
		s.devices(&spec)
		s.candidates(&spec)
	}
	switch now := time.Now(); {
	case err != nil:
	case now.Sub(s.reported) < writeEvery:
		s.later(spec)
	default:
		ctx, cancel := context.WithTimeout(s.ctx, letInWork)
		defer cancel()
		wrote, err := s.hub.storeReport(ctx, s.node, spec)
		if wrote {
			s.reported = now
		}
		if err != nil {
			s.hub.cfg.Log.Warn("report not stored", note.Node, s.name, note.Err, err, note.Retry, writeEvery)
			s.later(spec)
		}
	}
	s.misplaced(spec, err)
	s.announces(spec, err)
	if s.node.note(reportSubject, err, "peers keep what the last good report said; are agent and server of fitting versions?") {
		s.hub.observed.node(s.node)
	}
}

// storeReport writes the report if it is another than is stored: each write
// wakes every agent.
func (h *Hub) storeReport(ctx context.Context, n *node, spec kind.ReportSpec) (wrote bool, err error) {
	b, err := kind.Encode(kind.Report, kind.Metadata{Name: n.name}, spec)
	if err != nil {
		return false, fmt.Errorf("push: %w", err)
	}
	n.storing.Lock() // one writer a node: the last report must be the last write
	defer n.storing.Unlock()
	n.pending, n.spec = nil, &spec
	key := kind.Key(kind.Report, "", n.name)
	last := n.stored
	if h.cfg.Mirror.Revision() >= n.storedRev { // it has seen our last write
		e, _ := h.cfg.Mirror.Get(key)
		last = e.Value
	}
	if n.doubted { // the mirror may not have what another server wrote just now
		if last, err = h.storedReport(ctx, key); err != nil {
			return false, fmt.Errorf("push: read the report of node %s: %w", n.name, err)
		}
	}
	if bytes.Equal(last, b) {
		n.doubted = false
		return false, nil
	}
	// A node that is deleted leaves no report behind. One without an object is of a
	// release before there were any.
	object := kind.Key(kind.Node, "", n.name)
	e, known := h.cfg.Mirror.Get(object)
	if !known && n.hadObject {
		return false, nil
	}
	n.hadObject = known
	txn := store.Txn{
		If:   []store.Cond{{Key: object, Revision: e.Revision}},
		Then: []store.Write{{Key: key, Value: b}},
	}
	rev, err := h.cfg.Store.Commit(ctx, txn)
	if err != nil {
		return false, fmt.Errorf("push: store the report of node %s: %w", n.name, err)
	}
	n.stored, n.storedRev, n.doubted = b, rev, false
	return true, nil
}

// storedReport reads what the store itself holds; nil: nothing.
func (h *Hub) storedReport(ctx context.Context, key string) ([]byte, error) {
	entries, _, err := h.cfg.Store.List(ctx, key)
	for _, e := range entries {
		if e.Key == key {
			return e.Value, nil
		}
	}
	return nil, err
}

// later keeps a report that the store did not take, for the observer to try.
func (s *stream) later(spec kind.ReportSpec) {
	s.node.storing.Lock()
	s.node.pending = &spec
	s.node.storing.Unlock()
	s.hub.observed.node(s.node)
}

// retry stores a report that was kept. It answers false while it still is.
func (h *Hub) retry(ctx context.Context, n *node) bool {
	n.storing.Lock()
	spec := n.pending
	n.storing.Unlock()
	if spec == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, letInWork)
	defer cancel()
	if _, err := h.storeReport(ctx, n, *spec); err != nil {
		n.storing.Lock()
		if n.pending == nil {
			n.pending = spec
		}
		n.storing.Unlock()
		return false
	}
	return true
}

// writeEvery is the least time between two writes of a node's observation.
const writeEvery = time.Second
