package mesh

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// keyed is one Machine, of node a, toward b, by WireGuard alone, and what it is told.
type keyed struct {
	t     *testing.T
	m     *Machine
	now   time.Time
	in    Input
	ping  [intent.Slots]uint64 // the last probe through the slot's device
	outer []Probe              // those of the last step outside of it
}

func newKeyed(t *testing.T, wanted bool) *keyed {
	k := &keyed{t: t, m: New("a", epoch), now: epoch}
	c := &k.in.Intent.Cluster
	c.CIDRs, c.Backend, c.Encryption, c.PostQuantum = []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}, intent.WireGuard, intent.EncryptUntrusted, wanted
	for i, name := range []string{"a", "b"} {
		at := netip.AddrFrom4([4]byte{203, 0, 113, byte(i + 1)})
		k.in.Intent.Peers = append(k.in.Intent.Peers, intent.Peer{
			Name: name, Preshared: true, Lease: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 42, byte(i), 0}), 24)},
			Underlay: []intent.Underlay{{Addr: netip.PrefixFrom(at, 24), Device: "eth0", MTU: 1500}},
			Slots:    []intent.Slot{{Slot: 0, Key: intent.Key{byte(i), 1}, Port: 51820}},
			Candidates: []intent.Candidate{
				{Addr: netip.AddrPortFrom(at, 51820), Source: intent.FromInterface},
				{Addr: netip.AddrPortFrom(at, 51821), Slot: 1, Source: intent.FromInterface},
			},
		})
	}
	k.in.Intent.Name = "a"
	return k
}

// slot gives both ends a key in a slot.
func (k *keyed) slot(slot uint8, age byte) {
	for i := range k.in.Intent.Peers {
		p := &k.in.Intent.Peers[i]
		s := intent.Slot{Slot: slot, Key: intent.Key{byte(i), slot, age}, Port: 51820 + uint16(slot)}
		if len(p.Slots) > int(slot) {
			p.Slots = append(p.Slots[:slot:slot], s)
		} else {
			p.Slots = append(p.Slots[:len(p.Slots):len(p.Slots)], s)
		}
	}
}

// share says how the tunnels may be there.
func (k *keyed) share(slot uint8, key byte, open bool) {
	list := k.in.Preshared["b"]
	own, _ := k.in.Intent.Peers[0].SlotOf(slot)
	theirs, _ := k.in.Intent.Peers[1].SlotOf(slot)
	list[slot] = Preshared{Own: own.Key, Theirs: theirs.Key, Key: [32]byte{key}, Open: open}
	k.in.Preshared = map[string][intent.Slots]Preshared{"b": list}
}

func (k *keyed) set() { k.m.Set(k.in, k.now); k.step() }

func (k *keyed) step() {
	acts, _ := k.m.Step(k.now)
	k.outer = nil
	for _, a := range acts {
		switch a := a.(type) {
		case ProbeInner:
			k.ping[a.Over.Slot] = a.ID
		case Probe:
			k.outer = append(k.outer, a)
		}
	}
}

func (k *keyed) event(e Event) { k.m.Event(e, k.now); k.step() }

// holds says that a device has a pre-shared key, or none.
func (k *keyed) holds(slot uint8, key byte) {
	k.event(Device{Peer: "b", Slot: slot, Endpoint: netip.MustParseAddrPort("203.0.113.2:51820"), PSK: [32]byte{key}})
}

// answer has what was asked through a slot be answered.
func (k *keyed) answer(slot uint8) {
	k.event(Inner{ID: k.ping[slot], Peer: "b", Over: Over{Rung: WireGuard, Slot: slot}, RTT: time.Millisecond})
}

// pass lets time pass, in which nothing comes out of tunnels; outside of them all does,
// if it is so said.
func (k *keyed) pass(d time.Duration, outside bool) {
	for end := k.now.Add(d); k.now.Before(end); {
		k.now = k.now.Add(50 * time.Millisecond)
		k.step()
		for list := k.outer; outside && len(list) > 0; list = list[1:] {
			k.event(Answered{ID: list[0].ID, Peer: "b", Slot: list[0].Slot, From: list[0].To, Via: list[0].Via, RTT: time.Millisecond})
		}
	}
}

func (k *keyed) want(when string, rung Rung, tunnel string) {
	k.t.Helper()
	c := k.m.Choices()["b"]
	p := c.Peers[c.Slot]
	got := "none"
	switch {
	case p.There && p.PSK != [32]byte{}:
		got = "keyed"
	case p.There && p.Fabric:
		got = "agreeing"
	case p.There:
		got = "bare"
	}
	if c.Rung != rung || got != tunnel {
		k.t.Errorf("%s: rung %v, tunnel %s; want %v, %s", when, c.Rung, got, rung, tunnel)
	}
}

// TestNotSentByWithoutKey: of a pair that begins, nothing is sent by a tunnel before the
// device itself has the key.
func TestNotSentByWithoutKey(t *testing.T) {
	k := newKeyed(t, true)
	k.set()
	k.want("nothing known", None, "none")
	k.share(0, 0, true)
	k.set()
	k.want("keys are agreed on", None, "agreeing")
	if f := k.m.Tunnels(k.now)["b"][0]; f.Bare {
		t.Error("nobody sends by the tunnel")
	}
	k.share(0, 7, false)
	k.set()
	k.want("a key, and the device has it not", None, "keyed")
	k.holds(0, 7)
	k.want("the device has it", WireGuard, "keyed")
	k.share(0, 0, false)
	k.set()
	k.want("the key is forgotten", None, "none")
	k.share(0, 0, true)
	k.set()
	k.want("another is agreed on", None, "agreeing")
}

// TestWantedLater: a pair that began without a key stays on that tunnel until the other
// has one.
func TestWantedLater(t *testing.T) {
	k := newKeyed(t, false)
	k.share(0, 0, true)
	k.set()
	k.want("no keys wanted", WireGuard, "bare")
	k.answer(0)
	k.in.Intent.Cluster.PostQuantum = true
	k.set()
	k.want("keys wanted", WireGuard, "bare")
	if f := k.m.Tunnels(k.now)["b"][0]; !f.Bare {
		t.Error("the tunnel is not told as one that is in use without a key")
	}
	k.slot(1, 1)
	k.share(1, 7, false)
	k.set()
	k.holds(1, 7)
	k.answer(1)
	if c := k.m.Choices()["b"]; c.Rung != WireGuard || c.Slot != 1 {
		t.Errorf("the tunnel with a key is proved, and the pair sends by %v, slot %d", c.Rung, c.Slot)
	}
}

// TestOtherKeysAreBegunAnew: with another WireGuard key of either end it is another
// tunnel, and a pair that sent by the one before does not send by that without a key.
func TestOtherKeysAreBegunAnew(t *testing.T) {
	for _, how := range []string{"keyed", "bare", "adopted"} {
		k := newKeyed(t, how != "bare")
		switch how {
		case "keyed":
			k.share(0, 7, false)
			k.set()
			k.holds(0, 7)
		case "bare":
			k.share(0, 0, true)
			k.set()
		case "adopted":
			k.in.Adopted = map[string]Over{"b": {Rung: WireGuard}}
			k.share(0, 0, true)
			k.set()
			k.want("adopted as it was", ByServer, "bare") // of whom not even the endpoint is known yet
			k.holds(0, 0)
		}
		k.want(how, WireGuard, strings.Replace(how, "adopted", "bare", 1))
		k.in.Intent.Cluster.PostQuantum = true
		k.slot(0, 2)
		k.set()
		k.want(how+", other keys", None, "none")
		k.share(0, 0, true)
		k.set()
		k.want(how+", agreeing on a key", None, "agreeing")
	}
}

// TestKeyWaitsForAnAgent: where the peer's agent is not heard it is said that the key waits
// for it.
func TestKeyWaitsForAnAgent(t *testing.T) {
	k := newKeyed(t, false)
	k.share(0, 0, true)
	k.set()
	k.in.Intent.Cluster.PostQuantum = true
	k.set()
	why := func(when, want string) {
		t.Helper()
		if e, _ := k.m.Explain("b", k.now); e.Preshared != want {
			t.Errorf("%s: %q, want %q", when, e.Preshared, want)
		}
	}
	why("at first", "none yet: keys are changed for it")
	k.now = k.now.Add(unheardAfter + time.Second)
	k.step()
	why("its agent is away", "none yet: it waits for the agent of b, which is not heard")
	k.event(Heard{Peer: "b", From: netip.MustParseAddrPort("203.0.113.2:51820")})
	why("it is back", "none yet: keys are changed for it")
}

// TestUnablePeer: an agent of the release before has no tunnel while keys are wanted,
// and it is said why.
func TestUnablePeer(t *testing.T) {
	k := newKeyed(t, true)
	k.in.Intent.Peers[1].Preshared = false
	k.share(0, 0, false)
	k.set()
	k.want("a peer of the release before", None, "none")
	if e, _ := k.m.Explain("b", k.now); e.Preshared != "b's agent is of a release without pre-shared keys" {
		t.Errorf("explained by %q", e.Preshared)
	}
}

// TestMuteTunnel: a tunnel whose ciphertext arrives while nothing comes out of it is
// told after a while, and not if anything does, or if nothing arrives.
func TestMuteTunnel(t *testing.T) {
	for _, c := range []struct {
		what    string
		outside bool
		data    uint64 // bytes that come out of the device each second
		want    bool
	}{
		{"the ends have not the same key", true, 0, true},
		{"nothing arrives", false, 0, false},
		{"the peer begins handshakes, again and again", true, 148, true},
		{"probes are refused there, and pods' packets are not", true, 1000, false},
	} {
		k := newKeyed(t, true)
		k.in.Relays = []string{"s1"} // the pair goes to and fro between two ways that seem well
		for i := range k.in.Intent.Peers {
			k.in.Intent.Peers[i].Relays = k.in.Relays
		}
		k.share(0, 7, false)
		k.set()
		k.holds(0, 7)
		d := Device{Peer: "b", Endpoint: netip.MustParseAddrPort("203.0.113.2:51820"), PSK: [32]byte{7}}
		mute := time.Duration(0) // after which it was first told
		for k.now.Sub(epoch) < 2*stuckAfter {
			k.pass(time.Second, c.outside)
			d.Received += c.data
			k.event(d)
			if mute == 0 && k.m.Tunnels(k.now)["b"][0].Mute {
				mute = k.now.Sub(epoch)
			}
		}
		if mute > 0 != c.want || c.want && (mute <= stuckAfter || mute > stuckAfter+5*time.Second) {
			t.Errorf("%s: mute after %v", c.what, mute)
		}
	}
}
