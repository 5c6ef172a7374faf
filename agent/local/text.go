package local

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// describe is an intent as an operator reads it, a line a fact.
func describe(n intent.Node) []string {
	c := n.Cluster
	out := []string{
		fmt.Sprintf("node %s epoch %s revision %d", n.Name, n.Epoch, n.Revision),
		fmt.Sprintf("cluster %s services %s backend %s", list(c.CIDRs), list(c.ServiceCIDRs), c.Backend),
	}
	if c.Backend == intent.VXLAN {
		out = append(out, fmt.Sprintf("vxlan id %d dstport %d directRouting %v", c.VNI, c.VXLANPort, c.DirectRouting))
	}
	if len(c.Masquerade) > 0 {
		out = append(out, fmt.Sprintf("masquerade %s but not to %s", list(c.Masquerade), list(c.NonMasquerade)))
	}
	for _, p := range n.Peers {
		var at []string
		for _, u := range p.Underlay {
			at = append(at, fmt.Sprintf("%v dev %s mtu %d", u.Addr, u.Device, u.MTU))
		}
		out = append(out, fmt.Sprintf("peer %s lease %s at %s vtep %v", p.Name, list(p.Lease), strings.Join(at, ", "), p.VTEP))
	}
	return out
}

func list(ps []netip.Prefix) string {
	if len(ps) == 0 {
		return "none"
	}
	var out []string
	for _, p := range ps {
		out = append(out, p.String())
	}
	return strings.Join(out, ",")
}

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
