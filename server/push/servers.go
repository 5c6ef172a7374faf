package push

import (
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/proto"
)

// SetServers tells all agents where servers are, host:port, now and when they
// come: one that loses its own server finds another by it.
func (h *Hub) SetServers(addresses []string) {
	next := &weftv1.SyncResponse{Message: &weftv1.SyncResponse_Servers{Servers: &weftv1.ServerList{Addresses: addresses}}}
	if old := h.servers.Load(); old != nil && proto.Equal(old, next) {
		return
	}
	h.servers.Store(next)
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, s := range h.streams {
		s.kick()
	}
}
