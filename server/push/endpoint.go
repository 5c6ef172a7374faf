package push

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
)

// Bounds on a node's endpoints.
const (
	maxEndpoints    = 1 << 14
	maxEndpoint     = 16 << 10 // bytes as stored
	maxEndpointKey  = 512
	endpointSubject = "endpoints" // of problems
)

// endpoints takes a change of the node's attachments in. What cannot be read is
// a problem, and the rest is taken all the same.
func (s *stream) endpoints(d *weftv1.EndpointDelta) {
	s.node.listing.Lock()
	defer s.node.listing.Unlock()
	upsert, err := readEndpoints(s.name, d.GetUpsert())
	if d.GetFull() {
		s.node.groundless = s.hub.baseline(s.ctx, s.node) != nil
		if s.node.groundless { // the observer tries again: it writes nothing before
			s.hub.observed.node(s.node)
		}
	}
	changed, cerr := s.node.change(d.GetFull(), upsert, d.GetRemove())
	err = errors.Join(err, cerr)
	s.hub.observed.endpoints(s.node, changed)
	if s.node.note(endpointSubject, err, "the other endpoints are known; look at the agent's log") {
		s.hub.observed.node(s.node)
	}
}

// baseline reads what the store holds of a node's endpoints, so that a full list
// can be told apart from it.
func (h *Hub) baseline(ctx context.Context, n *node) error {
	ctx, cancel := context.WithTimeout(ctx, letInWork)
	defer cancel()
	prefix := kind.ObservedEndpoint(n.name + "/")
	entries, _, err := h.cfg.Store.List(ctx, prefix)
	if err != nil {
		return fmt.Errorf("push: list the endpoints of node %s: %w", n.name, err)
	}
	stored := map[string][]byte{}
	for _, e := range entries {
		stored[strings.TrimPrefix(e.Key, kind.ObservedEndpoints)] = e.Value
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	h.observed.overlay(n, stored) // what is about to be written counts as written
	n.endpoints = stored
	return nil
}

// ground reads what the store holds of a node's endpoints when it could not be read
// as the node told all of them: what it told is compared now. It answers false
// while the store does not answer.
func (h *Hub) ground(ctx context.Context, n *node) bool {
	n.listing.Lock()
	defer n.listing.Unlock()
	if !n.groundless {
		return true
	}
	n.mu.Lock()
	told := maps.Clone(n.endpoints)
	n.mu.Unlock()
	if err := h.baseline(ctx, n); err != nil {
		h.cfg.Log.Warn("endpoints not compared", note.Node, n.name, note.Err, err, note.Retry, writeEvery)
		return false
	}
	n.groundless = false
	changed, _ := n.change(true, told, nil) // of bounded size already
	h.observed.endpoints(n, changed)
	return true
}

// change brings a delta into the node's endpoints, and answers with what is to be
// written: nil values are deletions.
func (n *node) change(full bool, upsert map[string][]byte, remove []string) (map[string][]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	changed := map[string][]byte{}
	if n.endpoints == nil {
		n.endpoints = map[string][]byte{}
	}
	if full {
		for key := range n.endpoints {
			if upsert[key] == nil {
				changed[key] = nil
			}
		}
	}
	for _, key := range remove {
		if _, known := n.endpoints[key]; known {
			changed[key] = nil
		}
	}
	for key := range changed {
		delete(n.endpoints, key)
	}
	var err error
	for key, value := range upsert {
		old, known := n.endpoints[key]
		switch {
		case bytes.Equal(old, value):
			delete(changed, key)
		case !known && len(n.endpoints) >= maxEndpoints:
			err = fmt.Errorf("more than %d endpoints", maxEndpoints)
		default:
			n.endpoints[key], changed[key] = value, value
		}
	}
	return changed, err
}

// readEndpoints encodes what can be read of a node's records, by key.
func readEndpoints(node string, records []*weftv1.EndpointRecord) (map[string][]byte, error) {
	out := map[string][]byte{}
	var errs []error
	for _, r := range records {
		b, err := readEndpoint(node, r)
		if err != nil {
			if len(errs) < 3 {
				errs = append(errs, fmt.Errorf("endpoint %.80q: %w", r.GetKey(), err))
			}
			continue
		}
		out[r.GetKey()] = b
	}
	return out, errors.Join(errs...)
}

func readEndpoint(node string, r *weftv1.EndpointRecord) ([]byte, error) {
	rest, own := strings.CutPrefix(r.GetKey(), node+"/")
	parts := strings.Split(rest, "/")
	if !own || len(parts) != 2 || parts[0] == "" || parts[1] == "" || len(r.GetKey()) > maxEndpointKey {
		return nil, fmt.Errorf("want the key %s/<container id>/<ifname> in at most %d bytes", node, maxEndpointKey)
	}
	o := kind.EndpointObservation{
		Key: r.GetKey(), Namespace: r.GetNamespace(), Pod: r.GetPod(), Labels: r.GetLabels(),
		Device: r.GetDevice(), MAC: r.GetMac(), CreatedUnix: r.GetCreatedUnix(),
	}
	for _, t := range r.GetAddresses() {
		a, err := netip.ParseAddr(t)
		if err != nil {
			return nil, fmt.Errorf("%.50q is not an address", t)
		}
		o.Addresses = append(o.Addresses, a)
	}
	b, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	if len(b) > maxEndpoint {
		return nil, fmt.Errorf("%d bytes; at most %d are taken", len(b), maxEndpoint)
	}
	return b, nil
}

// Observation is a node's status as stored.
func (s Status) Observation(epoch string) kind.NodeObservation {
	return kind.NodeObservation{
		Version: s.Version, Boot: s.Boot, Machine: s.Machine, HeardUnix: unix(s.Heard),
		AppliedRevision: s.Applied, Epoch: epoch, Revision: s.Sent, Gone: !s.Connected,
		Address: host(s.Remote), Run: s.Run, Instance: s.Instance, Stream: s.Stream,
		Settings: s.Settings, Looking: s.Looking, Problems: s.Problems, ObjectErrors: s.ObjectErrors,
	}
}

// host is the address of an address and port; "" of none.
func host(remote string) string {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return ""
	}
	return at.Addr().String()
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
