package relay

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
	wire "github.com/weft-net/weft/proto/relay"
)

// bound waits until a node listens for others.
func (n *node) bound() {
	for n.nodes.conn.Load() == nil {
		time.Sleep(time.Millisecond)
	}
}

func TestOverANode(t *testing.T) {
	a, b, r := startNode(t, "a", newDisk()), startNode(t, "b", newDisk()), startNode(t, "r", newDisk())
	for _, n := range []*node{a, b, r} {
		n.bound()
	}
	if err := a.Use("b", 0, mesh.Via{Node: "r"}); err != nil {
		t.Fatal(err)
	}
	a.send("b", "one", "two")
	for _, want := range []string{"one of a, slot 0", "two of a, slot 0"} {
		if got := b.hear(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	b.send("a", "back") // to where it came from
	if got := a.hear(); got != "back of b, slot 0" {
		t.Errorf("got %q", got)
	}
	if err := b.SendProbe(mesh.Via{Node: "r"}, "a", 1, []byte("ping")); err != nil {
		t.Error(err)
	}
	if got := <-a.probes; got != "ping of b, slot 1, over r" {
		t.Errorf("probe %q", got)
	}
	if err := b.SendProbe(mesh.Via{Node: "a"}, "r", 0, []byte("ping")); err == nil {
		t.Error("a probe went over a node that relays for nobody")
	}
	if got := r.Stats().Carried; got != uint64(len("one"+"two"+"back"+"ping")) {
		t.Errorf("%d bytes were carried", got)
	}
}

// TestWhatANodeRefuses: it carries nothing but what the two have sealed, and for no one
// but nodes of the fabric.
func TestWhatANodeRefuses(t *testing.T) {
	r, a := startNode(t, "r", newDisk()), startNode(t, "a", newDisk())
	addr := func(name string) netip.AddrPort { return netip.AddrPortFrom(lease(name).Addr(), wire.Port) }
	shared := [32]byte{'a' ^ 'r'}
	sealed := func(k *wire.Key, way wire.Way, kind wire.Kind, name string) []byte {
		frame := wire.AppendHead(wire.Begin(nil, way, 0), kind, 0, map[wire.Kind]int{wire.Packets: 1}[kind], name)
		if kind != wire.Absent {
			frame = append(frame, 'x')
		}
		return k.Seal(frame, 0)
	}
	right := wire.NewKey(shared, "a", "r")
	for _, c := range []struct {
		name string
		at   *node
		from netip.AddrPort
		in   []byte
		want error
	}{
		{"from no node", r, netip.MustParseAddrPort("127.77.9.0:7449"), sealed(right, wire.ToRelay, wire.Packets, "b"), errStranger},
		{"from another port", r, netip.AddrPortFrom(addr("a").Addr(), 1024), sealed(right, wire.ToRelay, wire.Packets, "b"), errStranger},
		{"for itself", r, addr("a"), sealed(right, wire.ToRelay, wire.Packets, "a"), errNobody},
		{"for nobody", r, addr("a"), sealed(right, wire.ToRelay, wire.Packets, "z"), errNobody},
		{"what only relays say", r, addr("a"), sealed(right, wire.ToRelay, wire.Absent, "b"), errNoRelay},
		{"back from one that does not relay", r, addr("a"), sealed(right, wire.FromRelay, wire.Packets, "b"), errNoRelay},
		{"to one that does not relay", a, addr("r"), sealed(wire.NewKey(shared, "r", "a"), wire.ToRelay, wire.Packets, "b"), errNoRelay},
	} {
		if err := c.at.nodes.take(c.in, c.from); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	for _, c := range []struct {
		name string
		key  *wire.Key
	}{{"with another secret", wire.NewKey([32]byte{1}, "a", "r")}, {"turned round", wire.NewKey(shared, "r", "a")}} {
		if err := r.nodes.take(sealed(c.key, wire.ToRelay, wire.Packets, "b"), addr("a")); err == nil {
			t.Errorf("sealed %s: taken", c.name)
		}
	}
	if err := r.nodes.take(nil, addr("a")); err == nil {
		t.Error("nothing: taken")
	}
}

// TestPairIsBounded: a pair that floods is cut to its rate; another one is not.
func TestPairIsBounded(t *testing.T) {
	m := startNode(t, "r", newDisk()).nodes.roster.Load().mates["a"]
	const size, second = 1400, time.Second
	passed := 0
	for now := second; now < 2*second; now += time.Microsecond {
		if m.lets("b", size, now) {
			passed += size
		}
	}
	if most := nodeRate + nodeRate/10 + size; passed < nodeRate || passed > most {
		t.Errorf("%d bytes in a second, of %d to %d", passed, nodeRate, most)
	}
	if !m.lets("c", size, 2*second) {
		t.Error("another pair was bounded too")
	}
}

// TestNoRelayBehindARelay: a node that is reached over another does not carry, or two
// could carry for each other without end.
func TestNoRelayBehindARelay(t *testing.T) {
	r := startNode(t, "r", newDisk())
	r.bound()
	r.cfg.Straight = func(node string) bool { return node != "b" }
	ro := r.nodes.roster.Load()
	f := wire.Frame{Kind: wire.Packets, Size: 1, Name: []byte("b"), Payload: []byte("x")}
	if err := r.nodes.forward(ro, ro.mates["a"], f); err != errNobody {
		t.Errorf("%v", err)
	}
}

// TestKeysFollowTheIntent: those of a mate that has not changed stay, and others do not.
func TestKeysFollowTheIntent(t *testing.T) {
	r := startNode(t, "r", newDisk())
	in := intent.Node{Name: "r", Peers: peers()}
	one := newRoster(in, &roster{}, 0)
	if _, slot := one.mates["a"].sealer(r.Relay); slot != 0 || one.mates["a"].out[0] == nil {
		t.Fatal("no key")
	}
	if two := newRoster(in, one, 0); two.mates["a"] != one.mates["a"] {
		t.Error("made anew, though nothing has changed")
	}
	in.Peers = peers()
	in.Peers[0].Slots = append(in.Peers[0].Slots, intent.Slot{Slot: 1, Key: intent.Key{9}, Port: 51821})
	in.Peers[0].Slots[0].Leaving = true
	in.Peers[2].Slots = append(in.Peers[2].Slots, intent.Slot{Slot: 1, Key: intent.Key{8}, Port: 51821})
	three := newRoster(in, one, 0)
	if three.mates["a"] == one.mates["a"] {
		t.Error("kept, though its keys have changed")
	}
	if _, slot := three.mates["a"].sealer(r.Relay); slot != 1 {
		t.Errorf("sealed with slot %d, which leaves", slot)
	}
}

// TestTerm: who is to relay no more does so for a while, and then not; an intent that
// says it again changes nothing.
func TestTerm(t *testing.T) {
	in := intent.Node{Name: "r", Peers: peers()}
	now := time.Minute
	ro := newRoster(in, &roster{}, now)
	if ro.carries.over(now) || ro.any.over(now) {
		t.Fatal("does not relay, though it has the label")
	}
	in.Peers = slices.Clone(in.Peers)
	for i := range in.Peers {
		in.Peers[i].Labels = nil
	}
	for range 3 {
		ro = newRoster(in, ro, now)
		now += lingers / 4
	}
	if ro.carries.over(time.Minute + lingers - 1) {
		t.Error("ends before its time")
	}
	if end := time.Minute + lingers; !ro.carries.over(end) || !ro.any.over(end) {
		t.Error("goes on after its time")
	}
	if ro = newRoster(in, ro, now+lingers); !ro.carries.over(now + lingers) {
		t.Error("begins again without the label")
	}
	if ro := newRoster(in, &roster{}, now); !ro.carries.over(now) || !ro.any.over(now) {
		t.Error("relays without ever having had the label")
	}
}
