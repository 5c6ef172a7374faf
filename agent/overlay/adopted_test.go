package overlay

import (
	"maps"
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
	if got := Adopted(n.Intent, have); !maps.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
	if got := Adopted(intent.Node{}, have); len(got) > 0 {
		t.Errorf("without peers: %v", got)
	}
}
