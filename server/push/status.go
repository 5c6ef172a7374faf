package push

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/compile"
)

// Epoch is that of the store.
func (h *Hub) Epoch() string { return h.cfg.Epoch }

// Revision is that of the last change of intent that was compiled; 0 before Run
// has read the store.
func (h *Hub) Revision() int64 {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.revision
}

// Nodes lists the nodes that were seen since the start, by name.
func (h *Hub) Nodes() []Status {
	h.mu.RLock()
	nodes := slices.Collect(maps.Values(h.nodes))
	h.mu.RUnlock()
	out := make([]Status, 0, len(nodes))
	for _, n := range nodes {
		out = append(out, n.snapshot())
	}
	slices.SortFunc(out, func(a, b Status) int { return strings.Compare(a.Node, b.Node) })
	return out
}

// Status answers with one node's. It answers false for one that was not seen
// since the start.
func (h *Hub) Status(name string) (Status, bool) {
	h.mu.RLock()
	n := h.nodes[name]
	h.mu.RUnlock()
	if n == nil {
		return Status{}, false
	}
	return n.snapshot(), true
}

// Intent is all that a node of this release is told now.
func (h *Hub) Intent(name string) *weftv1.NodeIntent {
	h.mu.RLock()
	defer h.mu.RUnlock()
	out := &weftv1.NodeIntent{Epoch: h.cfg.Epoch, Revision: h.revision, CompileVersion: versionFor(allCollections())}
	for _, r := range h.order {
		if o := h.objects[r]; o.Audience.Has(name) {
			out.Objects = append(out.Objects, toSet(o.Object.Object))
		}
	}
	return out
}

// WaitApplied returns when every node that is connected has applied a revision,
// or when ctx ends; then it names those that have not.
func (h *Hub) WaitApplied(ctx context.Context, rev int64) (behind []string) {
	for {
		moved := h.progress.next()
		compiled, behind := h.behind(rev)
		if compiled && len(behind) == 0 {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return behind
		}
	}
}

// behind names the connected nodes that have not applied a revision, and says
// whether it is compiled at all.
func (h *Hub) behind(rev int64) (compiled bool, behind []string) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for name, s := range h.streams {
		if s.node.revision() < rev {
			behind = append(behind, name)
		}
	}
	slices.Sort(behind)
	return h.revision >= rev, behind
}

// Problems lists the stored objects that cannot be compiled.
func (h *Hub) Problems() []compile.Problem {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.Clone(h.problems)
}

// signal tells many waiters that something moved. Its zero value is ready, and
// costs nothing while nobody waits.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

// next is closed by the next send.
func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) send() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}

// Came is how many streams came since the start.
func (h *Hub) Came() uint64 { return h.count.Load() }
