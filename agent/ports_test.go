package agent

import (
	"testing"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/agent/keyring"
	"github.com/weft-net/weft/proto/intent"
)

// TestPortsOfNewKeys: the slot's own, unless the device that is to go has it still.
func TestPortsOfNewKeys(t *testing.T) {
	for _, c := range []struct {
		what  string
		slot  uint8 // that holds a key
		port  uint16
		base  uint16 // the cluster's wireguardPort; 0: it names none
		vxlan uint16
		want  uint16 // of the other slot
	}{
		{"a rotation", 0, 51820, 0, 8472, 51821},
		{"back", 1, 51821, 0, 8472, 51820},
		{"another port", 0, 51820, 51900, 8472, 51901},
		{"the port that the other slot had", 0, 51820, 51821, 8472, 51822},
		{"the port that the other slot has", 1, 51821, 51821, 8472, 51823},
		{"one lower", 0, 51820, 51819, 8472, 51821},
		{"one lower, and VXLAN beside it", 0, 51820, 51819, 51821, 51818},
		{"the highest", 1, 65534, 65534, 8472, 65533},
	} {
		dir, err := datadir.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		ring, err := keyring.Open(dir, keyring.Config{})
		if err == nil {
			err = ring.Need(c.slot, c.port)
		}
		if err != nil {
			t.Fatal(err)
		}
		p := &pairs{ring: ring, intent: func() (intent.Node, bool) {
			return intent.Node{Cluster: intent.Cluster{Backend: intent.Auto, VNI: 4096, VXLANPort: c.vxlan, WireGuardPort: c.base}}, true
		}}
		if got := p.free(1 - c.slot); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
}
