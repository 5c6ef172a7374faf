package push

import (
	"context"

	"github.com/weft-net/weft/proto/note"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// leave takes an ended stream off the hub.
func (h *Hub) leave(s *stream) {
	h.turns.done(s)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.streams[s.name] != s {
		return // a newer one is there, or the node was revoked
	}
	delete(h.streams, s.name)
	s.node.left()
	if !h.closed { // then this server's last word says so of all
		h.observed.node(s.node)
	}
	h.moved.send()
	h.progress.send()
	h.cfg.Log.Info("agent left", note.Node, s.name, note.Err, context.Cause(s.ctx))
	if !h.closed {
		h.crowd.departed(s.name, "its data path goes on as it was: "+status.Convert(s.reason()).Message())
	}
}

// Cut ends a node's stream with a reason, and forgets the node: it was revoked
// or deleted. It answers whether there was a stream.
func (h *Hub) Cut(name, why string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := h.nodes[name]; n != nil {
		h.observed.forget(n)
		delete(h.nodes, name)
	}
	s, ok := h.streams[name]
	if ok {
		delete(h.streams, name)
		s.cut(status.Error(codes.PermissionDenied, why))
	}
	h.moved.send()
	h.progress.send()
	return ok
}
