package paths

import (
	"crypto/ecdh"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/proto/disco"
	"github.com/weft-net/weft/proto/intent"
	"pgregory.net/rapid"
)

func publicOf(t testing.TB, private [32]byte) intent.Key {
	t.Helper()
	k, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		t.Fatal(err)
	}
	return intent.Key(k.PublicKey().Bytes())
}

var compare = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{}), cmpopts.EquateEmpty()}

// two nodes that know each other, and run.
func two(t *testing.T) (a, b *node, net *network) {
	t.Helper()
	net = newNetwork()
	a, b = newNode(t, net, "n1", "192.0.2.1", Config{}), newNode(t, net, "n2", "192.0.2.2", Config{})
	know(a, b)
	run(t, a, b)
	return a, b, net
}

func to(n *node) netip.AddrPort { return netip.AddrPortFrom(n.wire.addr, 51820) }

// A probe is answered, and heard at the other end once that knows that it is no
// replay: two round trips the first time, one from then on.
func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := two(t)
		b.machine.choose(map[string]mesh.Choice{"n1": {Rung: mesh.ByServer, Slot: 1}})
		sends := mesh.Over{Rung: mesh.VXLAN, Spare: true}
		for i, wait := range []time.Duration{4 * latency, 2 * latency} { // the first has no token of the peer's yet
			id := uint64(i) + 1
			a.do(mesh.Probe{ID: id, Peer: "n2", To: to(b), Nominate: true, Call: true, Opened: to(b), Sends: sends, TTL: 5})
			pass(wait)
			want := []mesh.Answered{{ID: id, Peer: "n2", From: to(b), Observed: to(a), RTT: 2 * latency, Sends: mesh.Over{Rung: mesh.WireGuard, Slot: 1}}}
			if diff := cmp.Diff(want, heard[mesh.Answered](a.machine), compare); diff != "" {
				t.Errorf("probe %d answered: %s", id, diff)
			}
			if diff := cmp.Diff([]mesh.Heard{{Peer: "n1", From: to(a), Nominate: true, Call: true, Opened: to(b), Sends: sends}}, heard[mesh.Heard](b.machine), compare); diff != "" {
				t.Errorf("probe %d heard: %s", id, diff)
			}
		}
		if a.wire.out()[0].TTL != 5 || a.wire.out()[0].Port != 51820 {
			t.Errorf("%+v", a.wire.out()[0])
		}
		if i := slices.IndexFunc(b.wire.out(), func(d probe.Datagram) bool { return d.Local != b.wire.addr }); i >= 0 {
			t.Errorf("answered from %v, asked at %v", b.wire.out()[i].Local, b.wire.addr)
		}
		pass(time.Minute)
		if got := append(heard[mesh.Heard](a.machine), heard[mesh.Heard](b.machine)...); len(got) > 0 {
			t.Errorf("heard what nobody sent: %+v", got)
		}
	})
}

// What was recorded is refused when it is sent again, wherever from.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := two(t)
		for id := range uint64(3) {
			a.do(mesh.Probe{ID: id, Peer: "n2", To: to(b), Nominate: true})
			pass(time.Second)
		}
		heard[mesh.Heard](b.machine)
		heard[mesh.Answered](a.machine)
		was := a.Counts()
		for _, d := range a.wire.out() {
			b.wire.come(probe.Datagram{Local: b.wire.addr, Port: 51820, Remote: netip.MustParseAddrPort("198.51.100.66:666"), Data: d.Data, At: time.Now()})
		}
		for _, d := range b.wire.out() {
			a.wire.come(probe.Datagram{Local: a.wire.addr, Port: 51820, Remote: netip.MustParseAddrPort("198.51.100.66:666"), Data: d.Data, At: time.Now()})
		}
		pass(time.Second)
		if h, n := heard[mesh.Heard](b.machine), heard[mesh.Answered](a.machine); len(h)+len(n) > 0 {
			t.Errorf("believed: %+v, %+v", h, n)
		}
		if b.Counts()["replayed"] < 3 || a.Counts()["replayed"]-was["replayed"] < 3 {
			t.Errorf("not counted: %v, %v", a.Counts(), b.Counts())
		}
		// Only the first ping, which had no token, is answered: to no more than there is.
		if n := len(b.wire.out()); n > 8 {
			t.Errorf("%d packets sent", n)
		}
	})
}

// A flood of forgeries is refused without an answer, and does not keep a good probe
// from being heard. A flood of good pings is answered at a bounded rate.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := two(t)
		a.do(mesh.Probe{ID: 1, Peer: "n2", To: to(b)})
		pass(time.Second)
		good := slices.Clone(a.wire.out()[0].Data)
		before := len(b.wire.out())
		from := netip.MustParseAddrPort("198.51.100.66:666")
		for i := range 20 * maxWaiting {
			forged := slices.Clone(good)
			forged[12+i%(disco.Size-12)] ^= 0x40
			switch i % 3 {
			case 1:
				forged[5] ^= 1 // of no pair
			case 2:
				forged = forged[:disco.Size-1]
			}
			b.wire.come(probe.Datagram{Local: b.wire.addr, Port: 51820, Remote: from, Data: forged, At: time.Now()})
		}
		synctest.Wait()
		if n := len(b.wire.out()) - before; n > 0 {
			t.Errorf("%d answers to forgeries", n)
		}
		c := b.Counts()
		if c["forged"] == 0 || c["malformed"] == 0 || c["forged"]+c["malformed"]+c["lost"] != 20*maxWaiting {
			t.Errorf("%v", c)
		}
		a.do(mesh.Probe{ID: 2, Peer: "n2", To: to(b)})
		pass(time.Second)
		if got := heard[mesh.Answered](a.machine); len(got) != 2 {
			t.Errorf("%+v", got)
		}
		before = len(b.wire.out())
		for range 10 * pongBurst {
			b.wire.come(probe.Datagram{Local: b.wire.addr, Port: 51820, Remote: from, Data: good, At: time.Now()})
			synctest.Wait()
		}
		if n := len(b.wire.out()) - before; n > pongBurst {
			t.Errorf("%d answers at once", n)
		}
		if c := b.Counts(); c["limited"]+c["replayed"] == 0 {
			t.Errorf("%v", c)
		}
	})
}

// Either end started anew finds the other again.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, net := two(t)
		a.do(mesh.Probe{ID: 1, Peer: "n2", To: to(b)})
		b.do(mesh.Probe{ID: 1, Peer: "n1", To: to(a)})
		pass(time.Second)
		heard[mesh.Heard](b.machine)
		again := newNode(t, net, "n1", "192.0.2.1", Config{})
		again.private, again.slots, again.peers = a.private, a.slots, a.peers
		again.Paths = New(again.Paths.cfg)
		run(t, again)
		again.do(mesh.Probe{ID: 1, Peer: "n2", To: to(b), Nominate: true})
		pass(time.Second)
		if got := heard[mesh.Heard](b.machine); len(got) != 1 || !got[0].Nominate {
			t.Errorf("after a restart: %+v", got)
		}
		b.do(mesh.Probe{ID: 2, Peer: "n1", To: to(a)})
		pass(time.Second)
		if got := heard[mesh.Heard](again.machine); len(got) != 1 {
			t.Errorf("the other end is heard as %+v", got)
		}
	})
}

// Probes go over relays as they go straight, and a relay that names another peer is
// not believed.
func TestRelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		ra, rb := &relays{names: []string{"s1"}, from: "n1"}, &relays{names: []string{"s1"}, from: "n2"}
		a, b := newNode(t, net, "n1", "192.0.2.1", Config{Relay: ra}), newNode(t, net, "n2", "192.0.2.2", Config{Relay: rb})
		ra.to, rb.to = map[string]*node{"n2": b}, map[string]*node{"n1": a}
		know(a, b)
		run(t, a, b)
		s1 := mesh.Via{Server: "s1"}
		a.do(mesh.Probe{ID: 1, Peer: "n2", Via: s1}, mesh.Probe{ID: 2, Peer: "n2", Via: mesh.Via{Server: "s2"}})
		pass(4 * latency)
		if diff := cmp.Diff([]mesh.Answered{{ID: 1, Peer: "n2", Via: s1, RTT: 2 * latency}}, heard[mesh.Answered](a.machine), compare); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]mesh.Heard{{Peer: "n1", Via: s1}}, heard[mesh.Heard](b.machine), compare); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]mesh.Unsent{{ID: 2, Peer: "n2", Why: "no such relay"}}, heard[mesh.Unsent](a.machine), compare); diff != "" {
			t.Error(diff)
		}
		if got := a.Report().Relays; !slices.Equal(got, []string{"s1"}) {
			t.Errorf("relays %v", got)
		}
		rb.from = "n9"
		b.do(mesh.Probe{ID: 1, Peer: "n1", Via: s1})
		pass(time.Second)
		if got := heard[mesh.Heard](a.machine); len(got) > 0 || a.Counts()["forged"] != 1 {
			t.Errorf("%+v, %v", got, a.Counts())
		}
		if a.Relayed(s1, "n2", 0, []byte("no probe")) {
			t.Error("took what is no probe")
		}
	})
}

// What our own kernel refuses is told in its words.
func TestUnsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, net := two(t)
		net.cut(b.wire.addr)
		a.do(
			mesh.Probe{ID: 1, Peer: "n2", To: to(b)},
			mesh.Probe{ID: 2, Peer: "n2", Slot: 1, To: to(b)},
			mesh.Probe{ID: 3, Peer: "n7", To: to(b)},
			mesh.Probe{ID: 4, Peer: "n2", Via: mesh.Via{Server: "s1"}},
			mesh.ProbeInner{ID: 5, Peer: "n2", Over: mesh.Over{Rung: mesh.WireGuard}, Size: tooLarge + 1},
			mesh.ProbeInner{ID: 6, Peer: "n7", Over: mesh.Over{Rung: mesh.WireGuard}},
			mesh.ProbeInner{ID: 7, Peer: "n2"},
		)
		synctest.Wait()
		want := []mesh.Unsent{
			{ID: 1, Peer: "n2", Why: "network is unreachable"},
			{ID: 2, Peer: "n2", Why: "no key of both ends in the slot"},
			{ID: 3, Peer: "n7", Why: "no key of both ends in the slot"},
			{ID: 4, Peer: "n2", Why: "there is no relay"},
			{ID: 5, Peer: "n2", Why: "message too long"},
			{ID: 6, Peer: "n7", Why: "no family of fabric addresses that both have"},
			{ID: 7, Peer: "n2", Why: "no device of the rung"},
		}
		if diff := cmp.Diff(want, heard[mesh.Unsent](a.machine)); diff != "" {
			t.Error(diff)
		}
	})
}

// A probe whose answer could not be awaited is not sent, and told.
func TestTooManyOutstanding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := two(t)
		nobody := netip.MustParseAddrPort("192.0.2.99:51820")
		var list []mesh.Action
		for i := range maxOut + 1 {
			list = append(list, mesh.Probe{ID: uint64(i), Peer: "n2", To: nobody})
		}
		a.do(list...)
		synctest.Wait()
		want := []mesh.Unsent{{ID: maxOut, Peer: "n2", Why: "too many probes wait for an answer"}}
		if diff := cmp.Diff(want, heard[mesh.Unsent](a.machine)); diff != "" {
			t.Error(diff)
		}
		if got := a.Counts()["unsent"]; got != 1 || len(a.wire.out()) != maxOut {
			t.Errorf("%d sent, %d not", len(a.wire.out()), got)
		}
		pass(2 * waits)
		a.do(mesh.Probe{ID: 1, Peer: "n2", To: nobody})
		synctest.Wait()
		if got := len(a.wire.out()); got != maxOut+1 {
			t.Errorf("%d sent after those before have expired", got)
		}
	})
}

// A key that changes in its slot makes another pair of ends; a slot that both have
// gets one of its own.
func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := two(t)
		for _, slot := range []uint8{1, 0} {
			pass(time.Second)
			a.rekey(slot)
			b.rekey(slot)
			know(a, b)
			synctest.Wait()
			if want := []uint16{51820, 51821}; !slices.Equal(a.wire.open(), want) {
				t.Errorf("ports %v, want %v", a.wire.open(), want)
			}
			a.do(mesh.Probe{ID: uint64(slot), Peer: "n2", Slot: slot, To: netip.AddrPortFrom(b.wire.addr, 51820+uint16(slot))})
			pass(time.Second)
			if got := heard[mesh.Heard](b.machine); len(got) != 1 || got[0].Slot != slot || got[0].From.Port() != 51820+uint16(slot) {
				t.Errorf("slot %d: %+v", slot, got)
			}
		}
		b.set(func() { b.slots = nil })
		know(a, b)
		synctest.Wait()
		if n := len(a.d.ends.at); n != 0 {
			t.Errorf("%d ends of a peer without slots", n)
		}
	})
}

// Two peers with one key: the first by name is probed, the other is not, and neither
// takes the other's place.
func TestClonedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		a, b, c := newNode(t, net, "n1", "192.0.2.1", Config{}), newNode(t, net, "n2", "192.0.2.2", Config{}), newNode(t, net, "n3", "192.0.2.3", Config{})
		c.slots = b.slots
		know(a, b, c)
		run(t, a)
		a.do(mesh.Probe{ID: 1, Peer: "n3", To: to(c)})
		synctest.Wait()
		if got := heard[mesh.Unsent](a.machine); len(got) != 1 || len(a.d.ends.at) != 1 {
			t.Errorf("%+v, %d ends", got, len(a.d.ends.at))
		}
	})
}

// The octet of a packet that says by which devices its sender sends.
func TestSends(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := mesh.Over{
			Rung: rapid.SampledFrom([]mesh.Rung{mesh.None, mesh.Direct, mesh.VXLAN, mesh.WireGuard}).Draw(t, "rung"),
			Slot: rapid.Uint8Range(0, 1).Draw(t, "slot"), Spare: rapid.Bool().Draw(t, "spare"),
		}
		if got := overOf(sendsOf(o)); got != o {
			t.Errorf("%+v became %+v", o, got)
		}
		if b := rapid.Byte().Draw(t, "octet"); overOf(b).Rung > mesh.WireGuard || overOf(b).Slot > 1 {
			t.Errorf("%#x became %+v", b, overOf(b))
		}
	})
}
