package push

import (
	"context"
	"net/netip"
	"strings"
	"time"

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
	heard   int64 // seconds since 1970
}

func wordOf(o kind.NodeObservation) word {
	w := word{speaker{machine: o.Machine, boot: o.Boot, instance: o.Instance}, o.Run, o.Stream, o.Gone, o.HeardUnix}
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
	if taken && (was.run != own || now.run != own) { // enter noted what is our own alone
		n := h.nodes[name]
		if n == nil {
			n = newNode(name)
			h.nodes[name] = n
		}
		if n.replaced(was.speaker, now.speaker); s != nil {
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

// holderElsewhere is who has a node's stream on another server that lives. It is
// asked only of nodes as which two speak.
func (h *Hub) holderElsewhere(ctx context.Context, name string) (speaker, bool) {
	h.mu.RLock()
	w, known := h.words[name]
	h.mu.RUnlock()
	if !known || w.gone || w.run == h.cfg.Run {
		return speaker{}, false
	}
	late := func(heard int64) bool { return time.Since(time.Unix(heard, 0)) >= 2*h.cfg.Refresh }
	if !late(w.heard) {
		return w.speaker, true
	}
	ctx, cancel := context.WithTimeout(ctx, letInWait)
	defer cancel()
	entries, _, err := h.cfg.Store.List(ctx, kind.ObservedServers)
	if err != nil {
		return speaker{}, false // who is there is let in
	}
	for _, e := range entries {
		o, err := kind.DecodeObservation[kind.ServerObservation](e)
		if err == nil && o.Run == w.run && !o.Gone && !late(o.HeardUnix) {
			return w.speaker, true
		}
	}
	return speaker{}, false
}
