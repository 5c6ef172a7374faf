package push

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
)

// word is who has a node's stream, as a server wrote it. All servers see the words
// of all in one order, the store's: so they agree on which stream is the newest,
// and notice together when two agents take it from each other by way of two of them.
type word struct {
	speaker speaker
	run     string // of the server
	stream  uint64
	gone    bool
	double  bool // another came lately that says it is this node
}

func wordOf(o kind.NodeObservation) word {
	w := word{speaker: speaker{machine: o.Machine, boot: o.Boot, instance: o.Instance}, run: o.Run, stream: o.Stream, gone: o.Gone}
	w.double = slices.ContainsFunc(o.Problems, func(p kind.Problem) bool { return p.Subject == doubleSubject })
	w.speaker.addr, _ = netip.ParseAddr(o.Address) // none: of an earlier release
	return w
}

// of tells whether a word is a stream's own.
func (w word) of(s *stream, run string) bool {
	return w.run == run && w.speaker.instance == s.speaker.instance && w.stream == s.streams
}

// overhear takes what was written of nodes, by any server.
func (h *Hub) overhear(b store.Batch) {
	for _, e := range b.Events {
		name := strings.TrimPrefix(e.Key, kind.ObservedNodes)
		if e.Value == nil {
			h.mu.Lock()
			delete(h.words, name)
			h.mu.Unlock()
			continue
		}
		o, err := kind.DecodeObservation[kind.NodeObservation](e.Entry)
		if err != nil {
			continue // its next writer overwrites it
		}
		if n := h.overheard(name, wordOf(o)); n != nil {
			h.reassert(n)
		}
	}
}

// overheard brings one word in. It answers with the node whose stream we hold and
// of which the store may say something else.
func (h *Hub) overheard(name string, now word) (say *node) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was, known := h.words[name]
	h.words[name] = now
	own := h.cfg.Run
	taken := known && !was.gone && !now.gone && !was.speaker.same(now.speaker)
	s := h.streams[name]
	if n := h.nodes[name]; n != nil && !now.gone {
		n.certain()
	}
	if taken && (was.run != own || now.run != own) { // enter noted what is our own alone
		n := h.nodes[name]
		if n == nil {
			n = newNode(name)
			h.nodes[name] = n
		}
		if h.replaced(n, was.speaker, now.speaker); s != nil {
			h.observed.node(n)
		}
	}
	switch {
	case s == nil:
		return nil
	case now.run == own:
		if taken && now.of(s, own) { // it was another's for a while, and so was the report
			return s.node
		}
		return nil
	case now.gone:
		return s.node
	case known && was.of(s, own): // we said so before: theirs is newer
		h.cfg.Log.Info("another stream of the node elsewhere", note.Node, name, note.Conn, s.remote)
		s.cut(elsewhere(name, now.speaker))
	}
	return nil
}

func elsewhere(name string, by speaker) error {
	return refuse(codes.Aborted, "another stream of node %s came to another server, from %v; the newest holds", name, by)
}

// reassert has a node's observation and report written as its stream has them.
func (h *Hub) reassert(n *node) {
	n.recordAt(0)
	n.storing.Lock()
	if n.doubted = true; n.pending == nil {
		n.pending = n.spec
	}
	n.storing.Unlock()
	h.observed.node(n)
}
