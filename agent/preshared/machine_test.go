package preshared

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weft-net/weft/proto/intent"
	wire "github.com/weft-net/weft/proto/preshared"
)

// disk is a Store in memory: it outlives its Machine.
type disk map[Tunnel][][32]byte

func (d disk) Find(of Tunnel) ([32]byte, bool) {
	if list := d[of]; len(list) > 0 {
		return list[len(list)-1], true
	}
	return [32]byte{}, false
}

func (d disk) Keep(of Tunnel, key [32]byte) ([32]byte, error) {
	id := sha256.Sum256(key[:])
	d[of] = append(d[of], id)
	return id, nil
}

func (d disk) Drop(id [32]byte) error {
	for of, list := range d {
		var left [][32]byte
		for _, k := range list {
			if k != id {
				left = append(left, k)
			}
		}
		d[of] = left
	}
	return nil
}

// world is a pair of nodes and the tunnels between them, in virtual time.
type world struct {
	now    time.Time
	wanted [2]bool
	peer   [2]Peer // as each end knows the other
	m      [2]*Machine
	disk   [2]disk
	mute   [2][intent.Slots]time.Duration // for how long the tunnels have not fitted
	wire   []flight
	mangle func(n int) []int // which of n messages on the wire arrive, in which order
}

type flight struct {
	to int
	Send
}

var names = [2]string{"n1", "n2"}

const tick = 50 * time.Millisecond

func newWorld(slots ...uint8) *world {
	w := &world{now: time.Unix(1795000000, 0), wanted: [2]bool{true, true}}
	for i := range w.m {
		w.disk[i] = disk{}
		w.peer[i] = Peer{Name: names[1-i], Able: true}
		for _, s := range slots {
			w.key(s, 1)
		}
		w.restart(i)
	}
	return w
}

// key gives both ends a device of a slot, with keys of some age.
func (w *world) key(slot uint8, age byte) {
	for i := range w.peer {
		w.peer[i].Slots[slot] = Slot{There: true, Own: intent.Key{byte(i), slot, age}, Theirs: intent.Key{byte(1 - i), slot, age}}
	}
}

func (w *world) restart(i int) {
	w.m[i] = NewMachine(names[i], w.disk[i])
	w.m[i].Set(w.wanted[i], []Peer{w.peer[i]})
}

func (w *world) state(i int, slot uint8) State { return w.m[i].States()[names[1-i]][slot] }

// fits tells whether the two ends of a tunnel can make a session.
func (w *world) fits(slot uint8) bool {
	a, b := w.state(0, slot), w.state(1, slot)
	return a.Key == b.Key && (a.Key != [32]byte{} || a.Open && b.Open)
}

// turn is a moment: facts are looked at, messages sent, and some arrive.
func (w *world) turn() {
	w.now = w.now.Add(tick)
	for i := range w.m {
		for s := range uint8(intent.Slots) {
			st, k := w.state(i, s), &w.peer[i].Slots[s]
			if k.Key != st.Key || w.fits(s) {
				w.mute[i][s] = 0
			}
			w.mute[i][s] += tick
			k.Key = st.Key
			k.Mute = k.Key != [32]byte{} && w.mute[i][s] > 20*time.Second
		}
		w.m[i].Set(w.wanted[i], []Peer{w.peer[i]})
		sends, _, _ := w.m[i].Step(w.now)
		for _, s := range sends {
			if w.fits(s.Via) {
				w.wire = append(w.wire, flight{1 - i, s})
			}
		}
	}
	order := make([]int, len(w.wire))
	for i := range order {
		order[i] = i
	}
	if w.mangle != nil {
		order = w.mangle(len(w.wire))
	}
	came := w.wire
	w.wire = nil
	for _, i := range order {
		f := came[i]
		w.m[f.to].Hear(names[1-f.to], f.Via, f.Message, w.now)
	}
}

// until turns until both ends have one key of a slot, and answers for how long.
func (w *world) until(t failer, slot uint8, limit time.Duration) time.Duration {
	t.Helper()
	for began := w.now; w.now.Sub(began) < limit; w.turn() {
		if w.fits(slot) && w.state(0, slot).Key != [32]byte{} {
			return w.now.Sub(began)
		}
	}
	t.Fatalf("after %v: n1 %v, n2 %v", limit, show(w.m[0]), show(w.m[1]))
	return 0
}

type failer interface {
	Helper()
	Fatalf(string, ...any)
}

func show(m *Machine) string {
	out := ""
	for name, list := range m.States() {
		for slot, s := range list {
			out += fmt.Sprintf("%s/%d key %x open %v; ", name, slot, s.Key[:2], s.Open)
		}
	}
	return out
}

// TestNewPair: nothing is in use, so the tunnel itself is open until both have the key.
func TestNewPair(t *testing.T) {
	w := newWorld(0)
	for i := range 2 {
		if s := w.state(i, 0); !s.Open || s.Key != [32]byte{} {
			t.Errorf("%s at first: %+v", names[i], s)
		}
	}
	if took := w.until(t, 0, time.Minute); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	key := w.state(0, 0).Key
	for range 1000 {
		w.turn()
	}
	if w.state(0, 0).Key != key || w.state(1, 0).Key != key {
		t.Error("the key did not stay")
	}
}

// TestSwitchedOn: a pair uses slot 0 without a key when keys are wanted. That stays as
// it is, and slot 1 is not there before it has a key.
func TestSwitchedOn(t *testing.T) {
	w := newWorld(0)
	for i := range 2 {
		w.wanted[i] = false
		w.peer[i].Slots[0].Bare = true
		w.restart(i)
		if s := w.state(i, 0); !s.Open {
			t.Errorf("%s, keys not wanted: %+v", names[i], s)
		}
	}
	w.wanted = [2]bool{true, true}
	w.key(1, 1)
	for w.turn(); ; w.turn() {
		for i := range 2 {
			if w.state(i, 1).Open {
				t.Fatalf("%s: slot 1 is open", names[i])
			}
			if s := w.state(i, 0); !s.Open || s.Key != [32]byte{} {
				t.Fatalf("%s: slot 0, which is in use: %+v", names[i], s)
			}
		}
		if w.fits(1) {
			return
		}
		if w.now.After(time.Unix(1795000010, 0)) {
			t.Fatalf("n1 %s, n2 %s", show(w.m[0]), show(w.m[1]))
		}
	}
}

// TestRotated: the next tunnel has another key, agreed on in the one before.
func TestRotated(t *testing.T) {
	w := newWorld(0)
	w.until(t, 0, time.Minute)
	old := w.state(0, 0).Key
	for i := range 2 {
		w.peer[i].Slots[0].Bare = true
	}
	w.key(1, 1)
	for i := range 2 {
		w.peer[i].Slots[0].Leaving = true
	}
	w.until(t, 1, 5*time.Second)
	if w.state(0, 1).Key == old {
		t.Error("the key is the old one")
	}
	if w.state(0, 0).Key != old {
		t.Error("the old tunnel lost its key")
	}
}

// TestLost: one end has lost everything, and has another WireGuard key. The two agree
// again, and the other end does not use the key of what is gone.
func TestLost(t *testing.T) {
	w := newWorld(0)
	w.until(t, 0, time.Minute)
	old := w.state(0, 0).Key
	w.disk[1] = disk{}
	w.key(0, 2)
	w.restart(1)
	w.turn()
	if w.state(0, 0).Key == old {
		t.Error("the key of another tunnel is used")
	}
	w.until(t, 0, 5*time.Second)
}

// TestMute: one end has a key that the other has not, whatever happened: it is found
// out by the silence, and both agree again without a way back to none.
func TestMute(t *testing.T) {
	w := newWorld(0)
	w.until(t, 0, time.Minute)
	old := w.state(0, 0).Key
	if _, err := w.disk[1].Keep(w.m[1].pairs["n1"].tunnel(0), [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	w.restart(1)
	for i := range 2 {
		w.peer[i].Slots[0].Bare = true
	}
	if w.fits(0) {
		t.Fatal("the keys still agree")
	}
	w.until(t, 0, 2*time.Minute)
	if w.state(0, 0).Key == old {
		t.Error("the key is one that did not work")
	}
}

// TestUnable: an agent of an older release has no keys, and no tunnel while they are
// wanted.
func TestUnable(t *testing.T) {
	w := newWorld(0)
	w.peer[0].Able = false
	w.turn()
	if d := cmp.Diff(State{Own: w.peer[0].Slots[0].Own, Theirs: w.peer[0].Slots[0].Theirs}, w.state(0, 0)); d != "" {
		t.Error(d)
	}
}

// TestBoundedWork: however many exchanges a peer asks for, few are taken up, and a half
// of one is all that is kept of the others.
func TestBoundedWork(t *testing.T) {
	w := newWorld(0)
	w.until(t, 0, time.Minute)
	m, key := w.m[1], w.state(1, 0).Key
	answered := map[[32]byte]bool{}
	for range 200 {
		w.now = w.now.Add(5 * time.Millisecond)
		e, err := wire.NewExchange()
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range (wire.Message{Kind: wire.Offer, Pair: m.pairs["n1"].id(0), ID: e.ID()}).Split(e.Offered()) {
			m.Hear("n1", 0, in, w.now)
		}
		sends, _, _ := m.Step(w.now)
		for _, s := range sends {
			answered[s.Message.ID] = true
		}
	}
	if len(answered) == 0 || len(answered) > int(time.Second/answers)+1 {
		t.Errorf("%d exchanges taken up in a second", len(answered))
	}
	if w.state(1, 0).Key != key {
		t.Error("the key in use is another, for an exchange that nobody ended")
	}
}

// TestNoKeyHasNoName: what says something of no key at all is refused.
func TestNoKeyHasNoName(t *testing.T) {
	w := newWorld(0)
	for i := range w.peer {
		w.peer[i].Slots[0].Bare = true
		w.restart(i)
	}
	w.m[0].Hear("n2", 0, wire.Message{Kind: wire.Unknown, Pair: w.m[0].pairs["n2"].id(0)}, w.now)
	if s := w.state(0, 0); !s.Open {
		t.Errorf("a tunnel that is sent by without a key since before, and there is none of which to know nothing: %+v", s)
	}
	w.m[1].Hear("n1", 0, wire.Message{Kind: wire.Have, Pair: w.m[1].pairs["n1"].id(0)}, w.now)
	if sends, _, _ := w.m[1].Step(w.now); len(sends) > 0 {
		t.Errorf("answered: %v", sends)
	}
}

// FuzzHear: whatever a peer sends that can make a MAC, in whichever order, the other end
// keeps one exchange a tunnel, opens no tunnel that has a key, and agrees once it is
// asked as it should be.
func FuzzHear(f *testing.F) {
	f.Add([]byte{0, 0, 1, 1, 2, 2})
	f.Add([]byte{0x40, 0x41, 0x80, 0x81, 0xc0, 0xff})
	f.Fuzz(func(t *testing.T, script []byte) {
		w := newWorld(0)
		var said [2][]wire.Message // by each end, in an order that was all right
		w.mangle = func(n int) (order []int) {
			for i, f := range w.wire {
				said[1-f.to] = append(said[1-f.to], f.Message)
				order = append(order, i)
			}
			return order
		}
		w.until(t, 0, time.Minute)
		w.mangle = nil
		for _, b := range script[:min(len(script), 100)] {
			to := int(b & 1)
			list := said[1-to]
			in := list[int(b>>1)%len(list)]
			if b&0x80 != 0 {
				in.ID[0] ^= b
			}
			w.m[to].Hear(names[1-to], 0, in, w.now)
			for _, s := range w.m[to].States()[names[1-to]] {
				if s.Open && s.Key != [32]byte{} {
					t.Fatalf("%s: %+v", names[to], s)
				}
			}
			if p := w.m[to].pairs[names[1-to]]; len(p.slots[0].answered) > 2000 {
				t.Fatal("more than an answer is kept")
			}
		}
		w.until(t, 0, 3*time.Minute)
	})
}

// TestTroubled: whatever is lost, comes twice, late or in another order, and whoever
// starts again at whatever moment, both ends end with one key, and never is a tunnel
// open that has one.
func TestTroubled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(0)
		used := rapid.Bool().Draw(t, "used")
		slot := uint8(0)
		if used {
			slot = 1
			w.key(1, 1)
			for i := range 2 {
				w.peer[i].Slots[0].Bare = true
				w.restart(i)
			}
		}
		w.mangle = func(n int) (order []int) {
			for i := range n {
				switch rapid.IntRange(0, 5).Draw(t, "fate") {
				case 0, 1: // lost
				case 2:
					order = append(order, i, i)
				case 3:
					order = append([]int{i}, order...)
				default:
					order = append(order, i)
				}
			}
			return order
		}
		for range rapid.IntRange(0, 120).Draw(t, "troubled") {
			w.turn()
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				w.restart(rapid.IntRange(0, 1).Draw(t, "who"))
			}
			for i := range 2 {
				if s := w.state(i, slot); s.Open && (s.Key != [32]byte{} || used) {
					t.Fatalf("%s: %+v", names[i], s)
				}
			}
		}
		w.mangle = nil
		w.until(t, slot, 3*time.Minute)
	})
}
