package overlay

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
)

// TestAdopted: what a node plans is what it finds again when it starts.
func TestAdopted(t *testing.T) {
	n := parse(t, `
cluster 10.42.0.0/16
backend auto encryption untrusted
receive auto vni 5000 spare
self n1
node n1 lease 10.42.1.0/24 on eth0 addr 10.0.0.1/24 vtep 02:57:00:00:00:01 site paris slot 0 slot 1
node n2 lease 10.42.2.0/24 on eth0 addr 10.0.0.2/24 vtep 02:57:00:00:00:02 site paris
node n3 lease 10.42.3.0/24 on eth0 addr 10.0.0.3/24 vtep 02:57:00:00:00:03 site paris
node n4 lease 10.42.4.0/24 on eth0 addr 10.0.0.4/24 vtep 02:57:00:00:00:04 site paris
node n5 lease 10.42.5.0/24 on eth0 addr 10.0.0.5/24 vtep 02:57:00:00:00:05 slot 0
node n6 lease 10.42.6.0/24 on eth0 addr 10.0.0.6/24 vtep 02:57:00:00:00:06 slot 1
node n7 lease 10.42.7.0/24 on eth0 addr 10.0.0.7/24 vtep 02:57:00:00:00:07 slot 1
choice n2 direct
choice n3 vxlan
choice n4 vxlan spare
choice n5 by-server peer 0
choice n6 punched slot 1 peer 1
choice n7 none`)
	objects, _ := Objects(n)
	have, err := datapath.Merge(objects)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]mesh.Over{
		"n2": {Rung: mesh.Direct}, "n3": {Rung: mesh.VXLAN}, "n4": {Rung: mesh.VXLAN, Spare: true},
		"n5": {Rung: mesh.WireGuard}, "n6": {Rung: mesh.WireGuard, Slot: 1},
	}
	if got := Adopted(n.Intent, Keys{}, have); !maps.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
	if got := Adopted(intent.Node{}, Keys{}, have); len(got) > 0 {
		t.Errorf("without peers: %v", got)
	}
}

// TestAdoptedWithKeys: where pre-shared keys are needed a tunnel is found again only if
// it is between the same keys.
func TestAdoptedWithKeys(t *testing.T) {
	n := parse(t, `
cluster 10.42.0.0/16
backend wireguard
self n1
node n1 lease 10.42.1.0/24 on eth0 addr 10.0.0.1/24 vtep 02:57:00:00:00:01 slot 0 slot 1
node n2 lease 10.42.2.0/24 on eth0 addr 10.0.0.2/24 vtep 02:57:00:00:00:02 slot 0
node n3 lease 10.42.3.0/24 on eth0 addr 10.0.0.3/24 vtep 02:57:00:00:00:03 slot 1
choice n2 wireguard peer 0 psk
choice n3 wireguard slot 1 peer 1`)
	n.Intent.Cluster.PostQuantum = true
	objects, _ := Objects(n)
	have, err := datapath.Merge(objects)
	if err != nil {
		t.Fatal(err)
	}
	other := intent.Slot{Slot: 1, Key: intent.Key{9}}
	for _, c := range []struct {
		what  string
		own   []intent.Slot
		known bool
		lost  string // a peer whose key is another
		want  string
	}{
		{"all as it was", n.Slots, true, "", "map[n2:{wireguard 0 false} n3:{wireguard 1 false}]"},
		{"no pre-shared key", n.Slots, false, "", "map[n3:{wireguard 1 false}]"},
		{"no keys", nil, true, "", "map[]"},
		{"another key of our own in slot 1", []intent.Slot{n.Slots[0], other}, true, "", "map[n2:{wireguard 0 false}]"},
		{"another key of n3", n.Slots, true, "n3", "map[n2:{wireguard 0 false}]"},
	} {
		in := n.Intent
		in.Peers = slices.Clone(in.Peers)
		for i := range in.Peers {
			if in.Peers[i].Name == c.lost {
				in.Peers[i].Slots = []intent.Slot{other}
			}
		}
		keys := Keys{c.own, func(id [32]byte) bool { return c.known && id != [32]byte{} }}
		if got := fmt.Sprint(Adopted(in, keys, have)); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}
