package intent

import (
	"testing"

	"pgregory.net/rapid"
)

func TestWireGuardPort(t *testing.T) {
	for _, c := range []struct {
		base        uint16
		shift, slot uint8
		want        uint16
	}{
		{51820, 0, 0, 51820},
		{51820, 0, 1, 51821},
		{51820, 1, 0, 51822},
		{51820, 64, 1, 51949},
		{65534, 0, 1, 65535},
		{65534, 1, 0, 65532},
		{65534, 64, 1, 65407},
		{1, 64, 1, 130},
	} {
		if got := WireGuardPort(c.base, c.shift, c.slot); got != c.want {
			t.Errorf("%d, shift %d, slot %d: %d, want %d", c.base, c.shift, c.slot, got, c.want)
		}
	}
}

// No two shifts and slots have one port, and none is 0.
func TestWireGuardPortsDiffer(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		base := rapid.Uint16Range(1, 65534).Draw(rt, "base")
		seen := map[uint16]bool{0: true}
		for shift := range uint8(PortShifts + 1) {
			for slot := range uint8(Slots) {
				port := WireGuardPort(base, shift, slot)
				if seen[port] {
					rt.Fatalf("%d twice, or 0: shift %d, slot %d", port, shift, slot)
				}
				seen[port] = true
			}
		}
	})
}
