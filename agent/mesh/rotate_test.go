package mesh

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"pgregory.net/rapid"
)

// turn has a node take its next turn, as the agent does with its keyring.
func (n *simNode) turn(due bool) Turn {
	var peers []intent.Peer
	for _, name := range n.w.names {
		if name != n.name {
			peers = append(peers, n.w.nodes[name].self)
		}
	}
	t, slot, _ := Rotation{Self: n.self, Peers: peers, Used: n.m.Summary().Slots, Pairs: n.m.Summary().Pairs, Old: n.old(), Due: due}.Next()
	slots := slices.Clone(n.self.Slots)
	i := slices.IndexFunc(slots, func(s intent.Slot) bool { return s.Slot == slot })
	switch t {
	case Make:
		n.keys++
		slots = append(slots, intent.Slot{Slot: slot, Key: intent.Key{n.self.Lease[0].Addr().As4()[2], n.keys}, Port: 51820 + uint16(slot)})
	case Leave:
		slots[i].Leaving = true
	case Drop:
		slots = slices.Delete(slots, i, i+1)
		clear(n.devices[slot])
	}
	slices.SortFunc(slots, func(a, b intent.Slot) int { return int(a.Slot) - int(b.Slot) })
	n.self.Slots = slots
	n.report()
	return t
}

// old is the slot whose key was made first.
func (n *simNode) old() uint8 {
	if len(n.self.Slots) == 2 && n.self.Slots[1].Key[1] < n.self.Slots[0].Key[1] {
		return 1
	}
	return 0
}

// rotate has nodes take turns until nothing is left to do. Each turn is told to the
// others after what a server takes.
func (w *world) rotate(d time.Duration, due map[string]bool) (turns int) {
	for end := w.now.Add(d); w.now.Before(end); w.run(200 * time.Millisecond) {
		for _, name := range w.names {
			n := w.nodes[name]
			switch n.turn(due[name]) {
			case Keep:
				continue
			case Leave:
				delete(due, name)
			}
			turns++
			w.after(50*time.Millisecond, w.tell)
		}
	}
	return turns
}

func TestRotation(t *testing.T) {
	for _, c := range []struct {
		name string
		due  []string
	}{
		{"of one node", []string{"b"}},
		{"of two at once", []string{"a", "c"}},
		{"of all at once", []string{"a", "b", "c", "d"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 5)
			w.relays["s1"] = true
			for i, k := range []string{"public", "easy", "hard", "easy"} {
				w.site(k+fmt.Sprint(i), k)
				w.node(string(rune('a'+i)), k+fmt.Sprint(i), k+fmt.Sprint(i)).busy = true
			}
			w.tell()
			w.run(20 * time.Second)
			w.pairs(func(a, b *simNode) { clear(a.lost) })
			before := map[string]intent.Key{}
			due := map[string]bool{}
			for _, n := range w.names {
				before[n] = w.nodes[n].self.Slots[0].Key
			}
			for _, n := range c.due {
				due[n] = true
			}
			turns := w.rotate(2*time.Minute, due)
			for _, n := range w.names {
				slots := w.nodes[n].self.Slots
				if len(slots) != 1 || slots[0].Leaving || slots[0].Slot != 1 {
					t.Errorf("%s ends with %+v", n, slots)
				}
				if slots[0].Key == before[n] {
					t.Errorf("%s still has its old key", n)
				}
			}
			if turns > 3*len(w.names) {
				t.Errorf("%d turns for %d nodes", turns, len(w.names))
			}
			w.pairs(func(a, b *simNode) {
				if n := a.lost[b.name]; n > 0 {
					t.Errorf("%s -> %s lost %d pings", a.name, b.name, n)
				}
			})
			w.run(20 * time.Second)
			w.pairs(func(a, b *simNode) {
				if r := w.rung(a.name, b.name); punchable(a.site.kind, b.site.kind) != (r < ByNode) {
					t.Errorf("%s -> %s stands on %v", a.name, b.name, r)
				}
			})
		})
	}
}

// A node that is asked for new keys while another's rotation has given it one leaves
// the old one, not the new one that others are on already.
func TestRotationDuringAnother(t *testing.T) {
	r := Rotation{
		Self:  intent.Peer{Name: "c", Slots: []intent.Slot{{Slot: 0}, {Slot: 1}}},
		Peers: []intent.Peer{{Name: "a", Slots: []intent.Slot{{Slot: 1}}}, {Name: "b", Slots: []intent.Slot{{Slot: 0}, {Slot: 1}}}},
		Pairs: 2, Old: 0, Due: true,
	}
	if turn, slot, _ := r.Next(); turn != Leave || slot != 0 {
		t.Errorf("%v slot %d", turn, slot)
	}
}

// TestUselessSlot: a slot that was made for a move, by which nothing has come and that is
// to have another port, is made anew; one that may be of use is not.
func TestUselessSlot(t *testing.T) {
	old, fresh := intent.Slot{Slot: 0, Leaving: true}, intent.Slot{Slot: 1}
	one := [intent.Slots]bool{false, true}
	b := intent.Peer{Name: "b", Slots: []intent.Slot{old, fresh}}
	for _, c := range []struct {
		what  string
		slots []intent.Slot
		stale [intent.Slots]bool
		vain  [intent.Slots]bool
		pairs int
		want  string
	}{
		{"its port is another's", []intent.Slot{old, fresh}, one, one, 1, "drop slot 1"},
		{"then there is one key, that is to go", []intent.Slot{old}, [intent.Slots]bool{}, [intent.Slots]bool{}, 1, "make slot 1"},
		{"the old port is wanted again", []intent.Slot{{Slot: 0}, fresh}, one, one, 1, "drop slot 1"},
		{"it has its port", []intent.Slot{old, fresh}, [intent.Slots]bool{true, false}, one, 1, "keep slot 0"},
		{"it is of use", []intent.Slot{old, fresh}, one, [intent.Slots]bool{}, 1, "keep slot 0"},
		{"who uses it is not known", []intent.Slot{old, fresh}, one, one, 0, "keep slot 0"},
		{"the only one", []intent.Slot{fresh}, one, one, 1, "keep slot 0"},
		{"it goes anyway", []intent.Slot{{Slot: 0}, {Slot: 1, Leaving: true}}, one, one, 0, "keep slot 0"},
	} {
		r := Rotation{
			Self: intent.Peer{Name: "a", Slots: c.slots}, Peers: []intent.Peer{b}, Pairs: c.pairs, Stale: c.stale, Vain: c.vain,
			Used: [intent.Slots][]string{{"b"}, nil},
		}
		if turn, slot, _ := r.Next(); fmt.Sprintf("%v slot %d", turn, slot) != c.want {
			t.Errorf("%s: %v slot %d; want %s", c.what, turn, slot, c.want)
		}
	}
}

// TestVainSlot: a slot is vain once nothing has come by it for as long as a pair takes to
// prove one, and no more as soon as something has.
func TestVainSlot(t *testing.T) {
	w, a, b := two(t, "public", "public")
	w.run(20 * time.Second)
	if got := a.m.Summary().Vain; got[0] || !got[1] {
		t.Errorf("vain: %v, where slot 0 is used and there is no slot 1", got)
	}
	b.taken = true // slot 1's port, by something else: its device has no socket
	for _, n := range []*simNode{a, b} {
		n.self.Slots = append(n.self.Slots, intent.Slot{Slot: 1, Key: intent.Key{9, n.name[0]}, Port: 51821})
		n.self.Slots[0].Leaving = true
		n.report()
	}
	w.tell()
	w.run(vainAfter - time.Second)
	if got := b.m.Summary().Vain; got[1] {
		t.Error("slot 1 is vain before the pair has had time to prove it")
	}
	w.run(2 * time.Second)
	if got := b.m.Summary().Vain; got[0] || !got[1] {
		t.Errorf("vain: %v, where slot 1 lets nothing through", got)
	}
	b.taken = false
	w.until(time.Minute, func() bool { return b.m.pairs["a"].sending().Slot == 1 })
	if got := b.m.Summary().Vain; got[1] {
		t.Error("slot 1 is vain, and the pair sends by it")
	}
}

// A slot stays for a moment after both ends have left it: a kernel sends by it until
// the agent's choice has come there.
func TestSlotLingers(t *testing.T) {
	w, a, _ := two(t, "public", "public")
	w.run(20 * time.Second)
	for _, n := range []string{"a", "b"} {
		w.nodes[n].self.Slots = append(w.nodes[n].self.Slots, intent.Slot{Slot: 1, Key: intent.Key{9, n[0]}, Port: 51821})
		w.nodes[n].self.Slots[0].Leaving = true
		w.nodes[n].report()
	}
	w.tell()
	w.until(10*time.Second, func() bool {
		p := a.m.pairs["b"]
		return p.sending().Slot == 1 && p.sends.Slot == 1
	})
	if got := a.m.Summary().Slots[0]; len(got) == 0 {
		t.Error("slot 0 is given up in the moment in which the pair left it")
	}
	w.run(2 * linger)
	if got := a.m.Summary().Slots[0]; len(got) > 0 {
		t.Errorf("slot 0 is still in use by %v", got)
	}
}

// Before the pairs are known, no slot is dropped: who uses it is not known either.
func TestNoSlotIsDroppedUnseen(t *testing.T) {
	both := []intent.Slot{{Slot: 0, Leaving: true}, {Slot: 1}}
	r := Rotation{Self: intent.Peer{Name: "a", Slots: both}, Peers: []intent.Peer{{Name: "b", Slots: both}}}
	if turn, slot, _ := r.Next(); turn != Keep {
		t.Errorf("%v slot %d", turn, slot)
	}
	r.Pairs = 1
	if turn, slot, _ := r.Next(); turn != Drop || slot != 0 {
		t.Errorf("%v slot %d", turn, slot)
	}
}

// A node whose clock went back is taken for one that replays: it is named, and new keys
// mend it.
func TestClockThatWentBack(t *testing.T) {
	w, a, b := two(t, "public", "easy", "s1")
	w.run(20 * time.Second)
	a.replays = a.self.Slots[0].Key
	a.devices[0]["b"].session, b.devices[0]["a"].session = false, false
	b.deaf = true // its kernel begins no handshake of its own
	w.run(time.Minute)
	if got := a.m.Summary().Stuck; !slices.Equal(got, []string{"b"}) {
		t.Errorf("stuck: %v:\n%s", got, w)
	}
	if e, _ := a.m.Explain("b", w.now); !strings.Contains(e.Climb, "weft rotate keys a") {
		t.Errorf("to climb: %s", e.Climb)
	}
	w.rotate(time.Minute, map[string]bool{"a": true})
	if !w.connected() {
		t.Errorf("new keys do not mend it:\n%s", w)
	}
}

// Where answers take longer than they are waited for, as on a machine that is starved,
// nothing is refused: what comes out of the tunnel says so.
func TestSlowIsNotRefused(t *testing.T) {
	w, a, b := two(t, "public", "public", "s1")
	w.run(20 * time.Second)
	a.late, b.late = true, true
	for range 120 {
		w.run(time.Second)
		if got := slices.Concat(a.m.Summary().Stuck, b.m.Summary().Stuck); len(got) > 0 {
			t.Fatalf("stuck: %v, though packets come:\n%s", got, w)
		}
	}
	if a.m.Summary().Down == 0 {
		t.Error("answers are taken for timely: the test shows nothing")
	}
}

// While the devices cannot be read, as when the process of one hangs, nobody claims that
// they refuse.
func TestUnreadIsNotRefused(t *testing.T) {
	w, a, b := two(t, "public", "easy", "s1")
	w.run(20 * time.Second)
	a.devices[0]["b"].session, b.devices[0]["a"].session = false, false
	a.replays, b.deaf, a.unread = a.self.Slots[0].Key, true, true
	w.run(time.Minute)
	if got := a.m.Summary().Stuck; len(got) > 0 {
		t.Errorf("stuck: %v, of devices that nobody reads", got)
	}
	a.unread = false
	w.run(stuckAfter + 2*time.Second) // when what was counted came is not known
	if got := a.m.Summary().Stuck; !slices.Equal(got, []string{"b"}) {
		t.Errorf("stuck: %v, once they are read", got)
	}
}

// From any slots whatever, nodes that take turns end in one slot that all have, and no
// pair is without a common slot for good.
func TestRotationsConverge(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(rt, "nodes")
		nodes := make([]intent.Peer, n)
		for i := range nodes {
			nodes[i].Name = string(rune('a' + i))
			for s := range uint8(intent.Slots) {
				if rapid.Bool().Draw(rt, "there") {
					nodes[i].Slots = append(nodes[i].Slots, intent.Slot{Slot: s, Leaving: rapid.Bool().Draw(rt, "leaving")})
				}
			}
			if len(nodes[i].Slots) == 2 && nodes[i].Slots[0].Leaving {
				nodes[i].Slots[1].Leaving = false // no node begins to leave both
			}
		}
		due := map[int]bool{rapid.IntRange(0, n-1).Draw(rt, "due"): true}
		still := 0
		for step := 0; still < n; step++ {
			if step > 200 {
				rt.Fatalf("no end: %+v", nodes)
			}
			i := rapid.IntRange(0, n-1).Draw(rt, "who")
			if step > 150 {
				i = step % n
			}
			if take(nodes, i, due) == Keep {
				still = 0
				for j := range nodes {
					if take(slices.Clone(nodes), j, due) == Keep {
						still++
					}
				}
			}
		}
		for _, p := range nodes {
			if len(p.Slots) != 1 || p.Slots[0].Slot != nodes[0].Slots[0].Slot || p.Slots[0].Leaving {
				rt.Fatalf("ends with %+v", nodes)
			}
		}
	})
}

// take is one turn, with slots used as pairs that move at once use them.
func take(nodes []intent.Peer, i int, due map[int]bool) Turn {
	r := Rotation{Self: nodes[i], Due: due[i]}
	for j, p := range nodes {
		if j == i {
			continue
		}
		r.Peers = append(r.Peers, p)
		if s, ok := common(nodes[i], p); ok {
			r.Used[s] = append(r.Used[s], p.Name)
		}
	}
	r.Pairs = len(r.Peers)
	if len(nodes[i].Slots) == 2 && nodes[i].Slots[1].Key[0] < nodes[i].Slots[0].Key[0] {
		r.Old = 1
	}
	t, slot, _ := r.Next()
	slots := slices.Clone(nodes[i].Slots)
	k := slices.IndexFunc(slots, func(s intent.Slot) bool { return s.Slot == slot })
	switch t {
	case Make:
		age := byte(1)
		for _, s := range slots {
			age = s.Key[0] + 1
		}
		slots = append(slots, intent.Slot{Slot: slot, Key: intent.Key{age}})
		slices.SortFunc(slots, func(a, b intent.Slot) int { return int(a.Slot) - int(b.Slot) })
	case Leave:
		slots[k].Leaving = true
		delete(due, i)
	case Drop:
		slots = slices.Delete(slots, k, k+1)
	}
	nodes[i].Slots = slots
	return t
}

// common is the slot that a pair uses.
func common(a, b intent.Peer) (slot uint8, ok bool) {
	least := 3
	for s := range uint8(intent.Slots) {
		x, y := a.SlotOf, b.SlotOf
		p, there := x(s)
		q, too := y(s)
		if !there || !too {
			continue
		}
		n := 0
		if p.Leaving {
			n++
		}
		if q.Leaving {
			n++
		}
		if n < least {
			slot, least, ok = s, n, true
		}
	}
	return slot, ok
}
