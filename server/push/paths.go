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
	pathSubject = "paths" // of problems
)

// paths takes in on which rungs the node's pairs stand.
func (s *stream) paths(m *weftv1.PathSummary) {
	o, err := readPaths(m)
	var value []byte
	if err == nil && (o.Revision > 0 || len(o.Rungs)+len(o.Pairs) > 0) { // a node alone has no pairs, and says so
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
	o := kind.PathsObservation{Epoch: clip(m.GetEpoch(), maxText), Revision: m.GetRevision(), Rungs: m.GetRungs(), Pairs: m.GetPairs(), Old: m.GetOld()}
	for _, f := range []struct {
		name string
		in   map[string]uint32
	}{{"rungs", o.Rungs}, {"pairs", o.Pairs}} {
		if len(f.in) > maxRungs {
			return o, fmt.Errorf("paths: %s: %d of them; at most %d", f.name, len(f.in), maxRungs)
		}
		for rung := range f.in {
			if rung == "" || len(rung) > maxText {
				return o, fmt.Errorf("paths: %s: a name of %d bytes: 1 to %d", f.name, len(rung), maxText)
			}
		}
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
