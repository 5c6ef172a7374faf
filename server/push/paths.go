package push

import (
	"encoding/json"
	"fmt"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
)

// Bounds on a summary of paths.
const (
	maxRungs    = 64
	maxOldPeers = 32      // names in each list
	maxOthers   = 2048    // names in all lists of rungs
	pathSubject = "paths" // of problems
)

// paths takes in on which rungs the node's pairs stand.
func (s *stream) paths(m *weftv1.PathSummary) {
	o, err := readPaths(m)
	var value []byte
	if err == nil && (o.Revision > 0 || len(o.Rungs) > 0 || o.Usual != "") { // a node alone has no pairs, and says so
		value, err = json.Marshal(o)
	}
	if err == nil {
		s.keep(kind.ObservedPath(s.name), value)
	}
	if s.node.note(pathSubject, err, "weft status counts what it said before; are agent and server of fitting versions?") {
		s.hub.observed.node(s.node)
	}
}

func readPaths(m *weftv1.PathSummary) (kind.PathsObservation, error) {
	o := kind.PathsObservation{Epoch: clip(m.GetEpoch(), maxText), Revision: m.GetRevision(), Rungs: m.GetRungs(), Usual: m.GetUsual(), Old: m.GetOld()}
	if len(o.Rungs) > maxRungs {
		return o, fmt.Errorf("paths: rungs: %d of them; at most %d", len(o.Rungs), maxRungs)
	}
	for rung := range o.Rungs {
		if rung == "" || len(rung) > maxText {
			return o, fmt.Errorf("paths: rungs: a name of %d bytes: 1 to %d", len(rung), maxText)
		}
	}
	var err error
	if o.Others, err = readOthers(m); err != nil {
		return o, fmt.Errorf("paths: others: %w", err)
	}
	for _, f := range []struct {
		name string
		in   []string
	}{{"old_peers", m.GetOldPeers()}, {"down_peers", m.GetDownPeers()}} {
		if len(f.in) > maxOldPeers {
			return o, fmt.Errorf("paths: %s: %d; at most %d", f.name, len(f.in), maxOldPeers)
		}
		for _, name := range f.in {
			if err := intent.ValidName(name); err != nil {
				return o, fmt.Errorf("paths: %s: %w", f.name, err)
			}
		}
	}
	o.OldPeers, o.Down = m.GetOldPeers(), m.GetDownPeers()
	return o, nil
}

// readOthers reads who is on another rung than most: nobody stands on two.
func readOthers(m *weftv1.PathSummary) ([]kind.RungPeers, error) {
	var out []kind.RungPeers
	on := map[string]string{}
	if n := len(m.GetUsual()); n > maxText {
		return nil, fmt.Errorf("the usual rung has a name of %d bytes: at most %d", n, maxText)
	}
	for i, r := range m.GetOthers() {
		switch {
		case i >= maxRungs:
			return nil, fmt.Errorf("%d rungs; at most %d", len(m.GetOthers()), maxRungs)
		case r.GetRung() == "" || len(r.GetRung()) > maxText:
			return nil, fmt.Errorf("a rung's name of %d bytes: 1 to %d", len(r.GetRung()), maxText)
		case len(on)+len(r.GetPeers()) > maxOthers:
			return nil, fmt.Errorf("more than %d peers", maxOthers)
		}
		for _, name := range r.GetPeers() {
			if err := intent.ValidName(name); err != nil {
				return nil, err
			}
			if was, twice := on[name]; twice {
				return nil, fmt.Errorf("%s is on %s and on %s", name, was, r.GetRung())
			}
			on[name] = r.GetRung()
		}
		out = append(out, kind.RungPeers{Rung: r.GetRung(), Peers: r.GetPeers()})
	}
	return out, nil
}
