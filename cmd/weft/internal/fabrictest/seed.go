package fabrictest

import (
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/types/known/structpb"
)

const day = 24 * 3600

// seed is what there is at the start: a configuration, two nodes with leases,
// one pod.
func (f *Fabric) seed() {
	f.put("ClusterConfig", "", "default", nil, fields{"clusterCIDRs": []any{"10.42.0.0/16", "fd42:42::/48"}, "backend": "vxlan"}, nil)
	for i, name := range []string{"n1", "n2"} {
		third := string(rune('1' + i))
		lease := []any{"10.42." + third + ".0/24", "fd42:42:0:" + third + "::/64"}
		f.put("Node", "", name, map[string]string{"site": "fra"}, fields{}, fields{"state": "Ready", "lease": lease, "appliedRevision": 100})
		f.put("Lease", "", name, nil, fields{"node": name, "prefixes": lease}, nil)
		f.Nodes = append(f.Nodes, &weftv1.NodeStatus{
			Name: name, State: "Ready", Version: "0.1.0", Lease: []string{lease[0].(string), lease[1].(string)},
			Addresses:       []*weftv1.NodeAddress{{Address: "10.0.0.1" + third + "/24", Device: "eth0", Mtu: 1500}},
			AppliedRevision: 100, HeardUnix: Now - 1, JoinedUnix: Now - 41*day,
		})
	}
	f.put("Endpoint", "shop", "web", nil, fields{"node": "n1", "pod": "web", "addresses": []any{"10.42.1.14"}}, nil)
	f.Peers = []*weftv1.PeerStatus{{Name: "n2", Lease: []string{"10.42.2.0/24"}, Transport: "vxlan", Remote: "10.0.0.12", Mtu: 1450, Why: "backend vxlan"}}
}

type fields = map[string]any

func (f *Fabric) put(kind, namespace, name string, labels map[string]string, spec, status fields) {
	s, err := structpb.NewStruct(spec)
	if err != nil {
		panic(err) // seeds are constants
	}
	st, err := structpb.NewStruct(status)
	if err != nil {
		panic(err)
	}
	if status == nil {
		st = nil
	}
	f.objects[key{kind, namespace, name}] = &weftv1.Resource{
		ApiVersion: "weft/v1", Kind: kind,
		Metadata: &weftv1.Metadata{Name: name, Namespace: namespace, Labels: labels, Revision: 90, CreatedUnix: Now - 41*day},
		Spec:     s, Status: st,
	}
}
