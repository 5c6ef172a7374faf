package push

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
)

// record is a node's observation on its way into the store. A node's stream moves
// from one server to another, and both write: each write rests on what the server
// wrote itself before, or, at first, has read. So the last word of a stream that
// has ended never stands over the first of the next.
type record struct {
	node  *node
	obs   kind.NodeObservation
	rests int64 // revision that the key must still have; 0: it is not there
}

// manyRecords is from how many on all observations are read at once.
const manyRecords = 16

// record writes what is observed of nodes.
func (h *Hub) record(ctx context.Context, nodes []*node) error {
	var records, fresh []record
	for _, n := range nodes {
		r := record{n, n.snapshot().Observation(h.cfg.Epoch), n.recordedAt()}
		if r.obs.Run = h.cfg.Run; r.rests == 0 {
			fresh = append(fresh, r)
		} else {
			records = append(records, r)
		}
	}
	stored, err := h.recorded(ctx, fresh)
	if err != nil {
		return err
	}
	for _, r := range fresh {
		old, there := stored[r.node.name]
		if there && (old.obs.overtakes(r.obs) || r.node.spoke() && old.obs.newer(r.obs)) {
			h.overtaken(r, old.obs)
			continue
		}
		r.rests = old.rev
		if there && old.obs.Run != h.cfg.Run && r.node.inherit(old.obs.Problems) {
			r.obs = r.node.snapshot().Observation(h.cfg.Epoch)
			r.obs.Run = h.cfg.Run
		}
		records = append(records, r)
	}
	return h.commitRecords(ctx, records)
}

// last is what the store holds of a node.
type last struct {
	obs observation
	rev int64
}

type observation kind.NodeObservation

// overtakes tells whether what is stored is of a newer stream than what we hold:
// of the same process, with a higher number; or alive, while ours is not.
func (o observation) overtakes(ours kind.NodeObservation) bool {
	if o.Run == ours.Run {
		return false
	}
	if o.Instance != "" && o.Instance == ours.Instance {
		return o.Stream > ours.Stream
	}
	return o.Run != "" && !o.Gone && ours.Gone
}

// newer tells whether what is stored, over what we wrote of our stream, is of
// another agent's stream, which came later then.
func (o observation) newer(ours kind.NodeObservation) bool {
	return o.Run != ours.Run && !o.Gone && !ours.Gone && (o.Instance != ours.Instance || o.Instance == "")
}

// recorded reads what is stored of nodes.
func (h *Hub) recorded(ctx context.Context, records []record) (map[string]last, error) {
	out := map[string]last{}
	read := func(prefix string) error {
		ctx, cancel := context.WithTimeout(ctx, letInWork)
		defer cancel()
		entries, _, err := h.cfg.Store.List(ctx, prefix)
		for _, e := range entries {
			o, _ := kind.DecodeObservation[kind.NodeObservation](e) // one that cannot be read is overwritten
			out[strings.TrimPrefix(e.Key, kind.ObservedNodes)] = last{observation(o), e.Revision}
		}
		return err
	}
	if len(records) > manyRecords {
		return out, read(kind.ObservedNodes)
	}
	for _, r := range records {
		if err := read(kind.ObservedNode(r.node.name)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// overtaken lets a stream go whose agent has a newer one elsewhere.
func (h *Hub) overtaken(r record, by observation) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	s := h.streams[r.node.name]
	switch {
	case s == nil || s.node != r.node || s.speaker.instance != r.obs.Instance || s.streams != r.obs.Stream:
	case by.Instance != r.obs.Instance || by.Instance == "":
		h.cfg.Log.Info("another stream of the node elsewhere", note.Node, s.name, note.Conn, s.remote)
		s.cut(elsewhere(s.name, wordOf(kind.NodeObservation(by)).speaker))
	default:
		h.cfg.Log.Info("agent has a newer stream elsewhere", note.Node, s.name, note.Conn, s.remote)
		s.cut(refuse(codes.Aborted, "a newer stream of node %s came to another server", s.name))
	}
}

// commitRecords writes in transactions of bounded size. One whose ground has moved
// is split; what still does not stand is read and tried again with the next.
func (h *Hub) commitRecords(ctx context.Context, records []record) error {
	for len(records) > 0 {
		txn, n, err := fill(records)
		if err != nil {
			return err
		}
		if err := h.commit(ctx, txn, records[:n]); errors.Is(err, store.ErrConflict) {
			for i := range n {
				err := h.commit(ctx, store.Txn{If: txn.If[i : i+1], Then: txn.Then[i : i+1]}, records[i:i+1])
				if errors.Is(err, store.ErrConflict) {
					records[i].node.recordAt(0)
					h.observed.node(records[i].node)
				} else if err != nil {
					return err
				}
			}
		} else if err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

// fill makes a transaction of as many records as fit, n.
func fill(records []record) (txn store.Txn, n int, err error) {
	size := 0
	for _, r := range records[:min(len(records), maxWrites)] {
		value, err := json.Marshal(r.obs)
		if err != nil {
			return txn, 0, err
		}
		key := kind.ObservedNode(r.node.name)
		if size += len(key) + len(value); size > maxBytes && n > 0 {
			break
		}
		txn.If = append(txn.If, store.Cond{Key: key, Revision: r.rests})
		txn.Then = append(txn.Then, store.Write{Key: key, Value: value})
		n++
	}
	return txn, n, nil
}

func (h *Hub) commit(ctx context.Context, txn store.Txn, records []record) error {
	ctx, cancel := context.WithTimeout(ctx, letInWork)
	defer cancel()
	rev, err := h.cfg.Store.Commit(ctx, txn)
	if err != nil {
		return err
	}
	for _, r := range records {
		r.node.recordAt(rev)
	}
	return nil
}

func (n *node) recordedAt() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.recorded
}

// spoke tells whether anything was written of the stream that the node has now.
func (n *node) spoke() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.claimed
}

func (n *node) recordAt(rev int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.recorded, n.claimed = rev, n.claimed || rev != 0
}
