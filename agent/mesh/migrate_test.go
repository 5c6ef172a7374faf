package mesh

import (
	"testing"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// A cluster goes from VXLAN to WireGuard under ping: prepare, switch, leave, as the
// server's carrier does it. Nothing is lost, and once a pair was encrypted nothing of it
// goes out in the clear.
func TestMigration(t *testing.T) {
	for _, c := range []struct {
		name     string
		from, to intent.Backend
		then     Rung
	}{
		{"vxlan to wireguard", intent.VXLAN, intent.WireGuard, WireGuard},
		{"wireguard to vxlan", intent.WireGuard, intent.VXLAN, VXLAN},
		{"vxlan to auto", intent.VXLAN, intent.Auto, Direct},
		{"auto to wireguard", intent.Auto, intent.WireGuard, WireGuard},
		{"host-gw to wireguard", intent.HostGW, intent.WireGuard, WireGuard},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, a, b := neighbours(t, "s1")
			old := intent.Carrier{Backend: c.from, VNI: 4096, Port: 8472}
			next := intent.Carrier{Backend: c.to, VNI: 4096, Port: 8472}
			w.cluster = w.cluster.By(old)
			w.cluster.Receive = []intent.Carrier{next}
			w.tell()
			w.run(20 * time.Second)
			clear(a.lost)
			clear(b.lost)
			w.wires, a.sealed, b.sealed = nil, map[string]bool{}, map[string]bool{}
			w.cluster = w.cluster.By(next)
			w.cluster.Receive = []intent.Carrier{old}
			a.set() // the two hear of it apart
			w.run(300 * time.Millisecond)
			b.set()
			w.until(10*time.Second, func() bool { return len(a.m.Summary().Old)+len(b.m.Summary().Old) == 0 })
			w.cluster.Receive = nil
			if c.to == intent.VXLAN {
				w.cluster.Receive = []intent.Carrier{old} // the last word is the server's
			}
			w.tell()
			w.run(10 * time.Second)
			if x, y := w.rung("a", "b"), w.rung("b", "a"); x != c.then || y != c.then {
				t.Errorf("stands on %v and %v, not %v", x, y, c.then)
			}
			if n := a.lost["b"] + b.lost["a"]; n > 0 {
				t.Errorf("%d pings lost", n)
			}
			if c.to == intent.WireGuard && len(w.wires) > 0 {
				t.Errorf("in the clear after encrypted: %v", w.wires)
			}
		})
	}
}

// A pair that must be encrypted and was stays so, even where the old way would work and
// the new one dies.
func TestNeverClearAgain(t *testing.T) {
	w, a, b := neighbours(t)
	old := intent.Carrier{Backend: intent.VXLAN, VNI: 4096, Port: 8472}
	w.cluster = w.cluster.By(intent.Carrier{Backend: intent.WireGuard})
	w.cluster.Receive = []intent.Carrier{old}
	w.tell()
	w.until(5*time.Second, func() bool { return w.rung("a", "b").Sealed() && w.rung("b", "a").Sealed() })
	w.run(time.Second)
	w.wires, a.sealed, b.sealed = nil, map[string]bool{"b": true}, map[string]bool{"a": true}
	w.sever("a", "b", "udp")
	w.cluster.Behind = []string{"b"}
	w.tell()
	w.run(time.Minute)
	if len(w.wires) > 0 {
		t.Errorf("in the clear: %d packets", len(w.wires))
	}
	if r := w.rung("a", "b"); !r.Sealed() {
		t.Errorf("stands on %v", r)
	}
}

// Nodes that must be encrypted and have no key yet send nothing.
func TestNothingInTheClearBeforeKeys(t *testing.T) {
	w, a, _ := neighbours(t, "s1")
	w.cluster.Encryption = intent.EncryptAlways
	a.self.Slots = nil
	a.report()
	a.m, a.applied = New("a", w.now), map[string]Choice{}
	w.tell()
	w.run(2 * time.Second)
	if c := a.m.Choices()["b"]; c.Rung != None {
		t.Errorf("stands on %v", c.Rung)
	}
}

// Of two nodes that may send in the clear only, each goes to the other line when one
// dies, although no answer can prove it before both have.
func TestClearOnly(t *testing.T) {
	w, a, b := neighbours(t)
	w.cluster.Encryption = intent.EncryptNever
	w.tell()
	w.run(20 * time.Second)
	if r := w.rung("a", "b"); r != Direct {
		t.Fatalf("before: %v", r)
	}
	w.sever("a", "b", "direct")
	if got := max(w.dark(a, b, 4*time.Second), w.dark(b, a, 100*time.Millisecond)); got > 1500*time.Millisecond {
		t.Errorf("dark for %v:\n%s", got, w)
	}
	if x, y := w.rung("a", "b"), w.rung("b", "a"); x != VXLAN || y != VXLAN {
		t.Errorf("after: %v and %v", x, y)
	}
}
