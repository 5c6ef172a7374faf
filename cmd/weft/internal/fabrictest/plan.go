package fabrictest

import (
	"net/netip"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// PlanBackend makes Plan answer with what every node is told when the backend
// changes. From the empty backend: when the nodes join; to it: when they are
// deleted.
func (f *Fabric) PlanBackend(from, to intent.Backend) {
	f.Plans = nil
	for i, n := range f.Nodes {
		plan := &weftv1.NodePlan{
			Node:   n.GetName(),
			Report: &weftv1.NodeReport{Addresses: n.GetAddresses(), VtepMac: mac(i).String()},
		}
		if from != "" {
			plan.Before = f.told(from)
		}
		if to != "" {
			plan.After = f.told(to)
		}
		f.Plans = append(f.Plans, plan)
	}
}

func (f *Fabric) told(backend intent.Backend) *weftv1.NodeIntent {
	cluster := intent.Cluster{
		CIDRs:   []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42:42::/48")},
		Backend: backend, VNI: 4096, VXLANPort: 8472, Encryption: intent.EncryptUntrusted, WireGuardPort: 51820,
		Masquerade: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")},
	}
	out := &weftv1.NodeIntent{Epoch: "3", Revision: f.revision, CompileVersion: intent.CompileVersion, Objects: []*weftv1.Set{
		{Collection: intent.CollectionCluster, Key: intent.KeyCluster, Value: intent.EncodeCluster(cluster)},
	}}
	for i, n := range f.Nodes {
		underlay, err := intent.DecodeUnderlay(n.GetAddresses())
		if err != nil {
			panic(err) // seeds are constants
		}
		p := intent.Peer{
			Name: n.GetName(), Underlay: underlay, VTEP: mac(i),
			Labels: map[string]string{intent.SiteLabel: []string{"fra", "home"}[i%2]},
			Slots:  []intent.Slot{{Key: intent.Key{byte(i + 1)}, Port: 51820}},
		}
		for _, l := range n.GetLease() {
			p.Lease = append(p.Lease, netip.MustParsePrefix(l))
		}
		out.Objects = append(out.Objects, &weftv1.Set{Collection: intent.CollectionPeers, Key: intent.PeerKey(p.Name), Value: intent.EncodePeer(p)})
	}
	return out
}

func mac(i int) intent.MAC { return intent.MAC{2, 0x57, 0, 0, 0, byte(i + 1)} }
