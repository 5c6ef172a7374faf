package local

import (
	"cmp"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

func peerStatus(path intent.Path, p intent.Peer) *weftv1.PeerStatus {
	out := &weftv1.PeerStatus{Name: p.Name, Transport: string(path.Transport), Mtu: uint32(path.MTU), Why: path.Why}
	for _, l := range p.Lease {
		out.Lease = append(out.Lease, l.String())
	}
	if path.Remote.Addr.IsValid() {
		out.Remote = path.Remote.Addr.Addr().String()
	}
	return out
}

// compareKeys puts objects in the order of creation.
func compareKeys(a, b datapath.Key) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
}
