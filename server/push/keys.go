package push

import (
	"fmt"
	"slices"
	"sync"

	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

const keySubject = "WireGuard key" // of problems

// keys is whose each WireGuard key is: the node's that was stored with it first, as
// long as it has it. Peers send to one holder of a key only, so that who reports
// another's would cut that one off. It is safe for concurrent use.
type keys struct {
	mu      sync.Mutex
	holders map[string][]string // by key, in the order in which they came; mostly one
	held    map[string][]string // by node
}

// take brings changes in.
func (k *keys) take(events []store.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.holders == nil {
		k.holders, k.held = map[string][]string{}, map[string][]string{}
	}
	for _, e := range events {
		what, _, node, ok := kind.ParseKey(e.Key)
		if !ok || what != kind.Report {
			continue
		}
		var spec kind.ReportSpec
		if e.Value != nil {
			if _, err := kind.Decode(e.Value, &spec); err != nil {
				continue // compile's problem
			}
		}
		k.holds(node, spec.Slots)
	}
}

// holds is all that a node has now.
func (k *keys) holds(node string, slots []kind.ReportSlot) {
	var now []string
	for _, s := range slots {
		now = append(now, s.Key)
		if !slices.Contains(k.holders[s.Key], node) {
			k.holders[s.Key] = append(k.holders[s.Key], node)
		}
	}
	for _, was := range k.held[node] {
		if slices.Contains(now, was) {
			continue
		}
		left := slices.DeleteFunc(k.holders[was], func(name string) bool { return name == node })
		if k.holders[was] = left; len(left) == 0 {
			delete(k.holders, was)
		}
	}
	if k.held[node] = now; now == nil {
		delete(k.held, node)
	}
}

// other is the node, not this one, that holds a key.
func (k *keys) other(node, key string) (string, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if of := k.holders[key]; len(of) > 0 && of[0] != node {
		return of[0], true
	}
	return "", false
}

// devices takes out of a report the devices whose keys are other nodes', and where
// they may be reached, and notes that. The others count: a node whose data folder is a
// copy needs them to get a key of its own.
func (s *stream) devices(spec *kind.ReportSpec) {
	var err error
	spec.Slots = slices.DeleteFunc(spec.Slots, func(slot kind.ReportSlot) bool {
		of, other := s.hub.keys.other(s.name, slot.Key)
		if other {
			err = fmt.Errorf("wireguard_slots: slot %d does not count: its key %s is that of node %s", slot.Slot, slot.Key, of)
			spec.Candidates = slices.DeleteFunc(spec.Candidates, func(c kind.ReportCandidate) bool { return c.Slot == slot.Slot })
		}
		return other
	})
	remedy := "weft rotate keys " + s.name + "; if its data folder is a copy: stop its agent, empty the folder and join again"
	if s.node.note(keySubject, err, remedy) {
		s.hub.observed.node(s.node)
	}
}
