package push

import (
	"slices"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// Bounds on what an agent says that it trusts.
const (
	maxRoots = 64
	maxRoot  = 64 // characters: hex SHA-256
)

// faith is what a stream's agent believes in.
type faith struct {
	said []string // roots that it trusts
	due  bool     // it may have to be told of others
}

// Retrust tells all streams that other roots may count now.
func (h *Hub) Retrust() {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, s := range h.streams {
		s.mu.Lock()
		s.faith.due = true
		s.mu.Unlock()
		s.kick()
	}
}

// trusts takes what the agent says that it trusts.
func (s *stream) trusts(roots []string) {
	if s.hub.cfg.Trust == nil || len(roots) > maxRoots || slices.ContainsFunc(roots, func(r string) bool { return len(r) > maxRoot }) {
		return
	}
	s.mu.Lock()
	s.faith = faith{slices.Clone(roots), true}
	s.mu.Unlock()
	s.hub.cfg.Trust.Trusts(s.name, roots)
}

// trust is what the agent is to be told of roots now; nil: nothing.
func (s *stream) trust() *weftv1.SyncResponse {
	s.mu.Lock()
	due, said := s.faith.due, s.faith.said
	s.faith.due = false
	s.mu.Unlock()
	if !due || s.hub.cfg.Trust == nil {
		return nil
	}
	// Again: when it was heard, this server may not have known of the root yet.
	s.hub.cfg.Trust.Trusts(s.name, said)
	if t := s.hub.cfg.Trust.Trust(s.name, said); t != nil {
		return &weftv1.SyncResponse{Message: &weftv1.SyncResponse_Trust{Trust: t}}
	}
	return nil
}
