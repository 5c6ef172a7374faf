package agent

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/agent/keyring"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/agent/preshared"
	"github.com/weft-net/weft/proto/intent"
)

func ringIn(t *testing.T) *keyring.Ring {
	t.Helper()
	dir, err := datadir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	ring, err := keyring.Open(dir, keyring.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// TestShelf: a key is found by its tunnel and by no other, and goes with its node; while
// it is not known which nodes there are, none goes.
func TestShelf(t *testing.T) {
	var names map[string]bool
	ring := ringIn(t)
	s := shelf{ring, func() (map[string]bool, bool) { return names, names != nil }}
	n2 := preshared.Tunnel{Peer: "n2", Own: intent.Key{1}, Theirs: intent.Key{2}}
	n3 := preshared.Tunnel{Peer: "n3", Slot: 1, Own: intent.Key{3}, Theirs: intent.Key{4}}
	id, err := s.Keep(n2, [32]byte{7})
	if err != nil || id != sha256.Sum256(append([]byte{7}, make([]byte, 31)...)) {
		t.Fatal(id, err)
	}
	if _, err := s.Keep(n3, [32]byte{8}); err != nil {
		t.Fatal(err)
	}
	other := n2
	other.Theirs = intent.Key{9}
	found := func(of preshared.Tunnel) bool { _, ok := s.Find(of); return ok }
	if !found(n2) || !found(n3) || found(other) {
		t.Errorf("found n2 %v, n3 %v, n2 with another WireGuard key %v", found(n2), found(n3), found(other))
	}
	names = map[string]bool{"n1": true, "n3": true}
	if _, err := s.Keep(n3, [32]byte{9}); err != nil || found(n2) || !found(n3) {
		t.Errorf("n2 is gone: found n2 %v, n3 %v, %v", found(n2), found(n3), err)
	}
	id, _ = s.Find(n3)
	if err := s.Drop(id); err != nil {
		t.Error(err)
	}
	if got, _ := s.Find(n3); got == id {
		t.Error("dropped, and found")
	}
}

// TestKeyless: keys are changed for pairs that send by a tunnel without a pre-shared key,
// and for no others.
func TestKeyless(t *testing.T) {
	key := [32]byte{7}
	by := func(rung mesh.Rung, slot uint8, psk [32]byte) mesh.Choice {
		c := mesh.Choice{Rung: rung, Slot: slot}
		c.Peers[slot] = mesh.Peer{There: true, PSK: psk}
		return c
	}
	for _, c := range []struct {
		what   string
		wanted bool
		able   bool
		slots  []intent.Slot
		choice mesh.Choice
		want   bool
	}{
		{"none are wanted", false, true, []intent.Slot{{Slot: 0}}, by(mesh.WireGuard, 0, [32]byte{}), false},
		{"a tunnel without a key", true, true, []intent.Slot{{Slot: 0}}, by(mesh.WireGuard, 0, [32]byte{}), true},
		{"a relayed one", true, true, []intent.Slot{{Slot: 1}}, by(mesh.ByServer, 1, [32]byte{}), true},
		{"with a key", true, true, []intent.Slot{{Slot: 0}}, by(mesh.WireGuard, 0, key), false},
		{"it is to go already", true, true, []intent.Slot{{Slot: 0, Leaving: true}, {Slot: 1}}, by(mesh.WireGuard, 0, [32]byte{}), false},
		{"in the clear", true, true, []intent.Slot{{Slot: 0}}, by(mesh.VXLAN, 0, [32]byte{}), false},
		{"by none", true, true, []intent.Slot{{Slot: 0}}, mesh.Choice{}, false},
		{"a peer that knows no keys", true, false, []intent.Slot{{Slot: 0}}, by(mesh.WireGuard, 0, [32]byte{}), false},
	} {
		n := intent.Node{Name: "n1", Cluster: intent.Cluster{PostQuantum: c.wanted}, Peers: []intent.Peer{{Name: "n1", Preshared: true}, {Name: "n2", Preshared: c.able}}}
		if got := keyless(n, c.slots, map[string]mesh.Choice{"n2": c.choice}); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

// TestLocked: the words of explain, by how far a pair is.
func TestLocked(t *testing.T) {
	p := &pairs{ring: ringIn(t)}
	of := keyring.Tunnel{Peer: "n2", Own: intent.Key{1}, Theirs: intent.Key{2}}
	id, err := p.ring.SetPreshared(of, [32]byte{7})
	if err != nil {
		t.Fatal(err)
	}
	e := mesh.Explanation{Peer: "n2", Ends: [2]intent.Key{{1}, {2}}, Key: id}
	short := preshared.Short(id)
	for _, c := range []struct {
		what string
		e    func(e *mesh.Explanation)
		want []string
	}{
		{"not there yet", func(e *mesh.Explanation) { e.Preshared = "not agreed on yet" }, []string{"not agreed on yet"}},
		{"no handshake", func(*mesh.Explanation) {}, []string{short, "by ML-KEM-768", "no handshake with it yet"}},
		{"confirmed", func(e *mesh.Explanation) { e.Confirmed = time.Now() }, []string{short, "confirmed by the handshake of"}},
		{"another key", func(e *mesh.Explanation) { e.Key = [32]byte{1} }, nil},
		{"none wanted", func(e *mesh.Explanation) { e.Ends[1] = intent.Key{3} }, nil},
	} {
		e := e
		c.e(&e)
		got := p.locked(e)
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q, without %q", c.what, got, w)
			}
		}
		if c.want == nil && got != "" {
			t.Errorf("%s: %q", c.what, got)
		}
		if strings.Contains(got, fmt.Sprintf("%x", [4]byte{7})) {
			t.Errorf("%s: the key itself: %q", c.what, got)
		}
	}
}

// TestUnkeyed: who does not hear its peers says why, and what to do.
func TestUnkeyed(t *testing.T) {
	for _, c := range []struct {
		why  error
		want string
	}{
		{nil, "[]"},
		{
			fmt.Errorf("preshared: %w", &net.OpError{Op: "listen", Net: "udp", Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}),
			"[{UDP port 7448 something else has it; no peer agrees with this node on a pre-shared key: pairs stay as they are, and new ones have no WireGuard " +
				"ss -lunp 'sport = :7448' tells whose it is: have that listen elsewhere, or on addresses outside of the fabric; it is tried again every few seconds 0}]",
		},
		{errors.New("preshared: no"), "[{UDP port 7448 preshared: no; no peer agrees"},
	} {
		if got := fmt.Sprint(unkeyed(c.why)); !strings.HasPrefix(got, c.want) {
			t.Errorf("%v: %s; want %s", c.why, got, c.want)
		}
	}
}

// TestSlots: what one room says of a tunnel another is told, field by field.
func TestSlots(t *testing.T) {
	in := map[string][intent.Slots]preshared.State{"n2": {1: {Own: intent.Key{1}, Theirs: intent.Key{2}, Key: [32]byte{3}, Open: true}}}
	got := slots(in, func(s preshared.State) mesh.Preshared { return mesh.Preshared(s) })
	if want := (mesh.Preshared{Own: intent.Key{1}, Theirs: intent.Key{2}, Key: [32]byte{3}, Open: true}); len(got) != 1 || got["n2"][1] != want || got["n2"][0] != (mesh.Preshared{}) {
		t.Errorf("%+v", got)
	}
	if p := (&pairs{}); p.locks() != nil {
		t.Error("locks before pairs choose")
	}
	if _, known := (&pairs{}).facts(); known {
		t.Error("facts before pairs choose")
	}
}
