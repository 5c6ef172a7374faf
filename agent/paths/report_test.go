package paths

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/proto/intent"
	"pgregory.net/rapid"
)

func heardChanged(n *node) []mesh.Changed { return heard[mesh.Changed](n.machine) }

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// One line a node: what is known, and what it says of itself.
func TestCandidates(t *testing.T) {
	slot := intent.Slot{Slot: 0, Port: 51820}
	seen := func(source intent.Source, list ...string) (out []found) {
		for _, s := range list {
			out = append(out, found{Candidate: intent.Candidate{Addr: netip.MustParseAddrPort(s), Source: source}})
		}
		return out
	}
	cluster := intent.Cluster{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}, ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16")}}
	for _, c := range []struct {
		name string
		k    known
		want []string
	}{
		{"nothing", known{}, nil},
		{"no device", known{addrs: addrs("192.0.2.1")}, nil},
		{"what the operator says comes first", known{slots: []intent.Slot{slot}, addrs: addrs("10.0.0.1"), external: addrs("203.0.113.7")}, []string{"203.0.113.7:51820 external", "10.0.0.1:51820 interface"}},
		{"once each", known{slots: []intent.Slot{slot}, addrs: addrs("10.0.0.1", "10.0.0.1"), external: addrs("10.0.0.1"), found: seen(intent.FromEcho, "10.0.0.1:51820")}, []string{"10.0.0.1:51820 external"}},
		{"echo before peers", known{slots: []intent.Slot{slot}, found: append(seen(intent.FromPeer, "198.51.100.9:7"), seen(intent.FromEcho, "198.51.100.9:8")...)}, []string{"198.51.100.9:8 echo", "198.51.100.9:7 peer"}},
		{"both slots", known{slots: []intent.Slot{slot, {Slot: 1, Port: 51821}}, addrs: addrs("10.0.0.1", "2001:db8::1")}, []string{
			"10.0.0.1:51820 interface", "[2001:db8::1]:51820 interface", "10.0.0.1:51821 interface in slot 1", "[2001:db8::1]:51821 interface in slot 1",
		}},
		{"what a server would refuse", known{slots: []intent.Slot{slot}, addrs: addrs("127.0.0.1", "::1", "169.254.1.1", "fe80::1", "0.0.0.0", "224.0.0.1", "169.254.169.254", "fd00:ec2::254", "255.255.255.255", "::ffff:127.0.0.1")}, nil},
		{"pods and services", known{cluster: cluster, slots: []intent.Slot{slot}, addrs: addrs("10.42.1.1", "10.43.0.1", "10.44.0.1")}, []string{"10.44.0.1:51820 interface"}},
	} {
		if diff := cmp.Diff(c.want, lines(c.k.candidates())); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// However much is known, what is said stays within what a report may hold, and says
// nothing twice.
func TestCandidatesAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := func(label string) (out []netip.Addr) {
			for range rapid.IntRange(0, 40).Draw(t, label) {
				out = append(out, netip.AddrFrom4([4]byte{11, 0, 0, rapid.Byte().Draw(t, "octet")}))
			}
			return out
		}
		var p pool
		now := time.Unix(0, 0)
		for range rapid.IntRange(0, 200).Draw(t, "found") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
			p.expire(now)
			p.put(intent.Candidate{
				Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{12, 0, 0, rapid.Byte().Draw(t, "octet")}), 7),
				Slot: rapid.Uint8Range(0, 1).Draw(t, "slot"), Source: rapid.SampledFrom([]intent.Source{intent.FromEcho, intent.FromPeer}).Draw(t, "source"),
			}, now)
		}
		if len(p.list) > 2*(2+maxOfPeer) {
			t.Fatalf("%d are kept", len(p.list))
		}
		got := known{slots: []intent.Slot{{Slot: 0, Port: 51820}, {Slot: 1, Port: 51821}}, external: some("external"), addrs: some("addrs"), found: p.list}.candidates()
		if len(got) > 2*maxOfSlot {
			t.Fatalf("%d candidates", len(got))
		}
		for i, c := range got {
			if slices.ContainsFunc(got[:i], func(o intent.Candidate) bool { return o.Addr == c.Addr && o.Slot == c.Slot }) {
				t.Fatalf("%v twice", c)
			}
		}
	})
}

// A change of addresses is told once it has stood still, and within a second however
// much it goes on; the machine knows at once.
func TestTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, newNetwork(), "n1", "192.0.2.1", Config{})
		know(n)
		began := time.Now()
		run(t, n)
		if len(n.told) != 1 || n.told[0].at != began {
			t.Fatalf("the first report: %+v", n.told)
		}
		pass(10 * time.Second)
		n.set(func() { n.addrs = addrs("192.0.2.7") })
		n.Moved()
		pass(stand)
		if got := n.reports(); len(got) != 2 || got[1].Candidates[0].Addr.String() != "192.0.2.7:51820" {
			t.Fatalf("%+v", got)
		}
		moved := time.Now()
		for i := range 40 { // a device that flaps
			n.set(func() { n.addrs = addrs(fmt.Sprintf("192.0.2.%d", 100+i)) })
			pass(100 * time.Millisecond)
		}
		pass(time.Second)
		got := n.reports()[2:]
		if got[0].at.Sub(moved) > time.Second || len(got) > 6 || len(got) < 4 {
			t.Errorf("told after %v, %d times in 4 s", got[0].at.Sub(moved), len(got))
		}
		if last := got[len(got)-1]; last.Candidates[0].Addr.String() != "192.0.2.139:51820" {
			t.Errorf("the last report: %v", lines(last.Candidates))
		}
		// Gone and back before it was told: nothing was.
		was := len(n.reports())
		n.set(func() { n.addrs = nil })
		pass(stand / 2)
		n.set(func() { n.addrs = addrs("192.0.2.139") })
		pass(5 * time.Second)
		if len(n.reports()) != was {
			t.Errorf("told what was over: %+v", n.reports()[was:])
		}
	})
}

// Whatever happens, what is told last is what is, within a second.
func TestToldInTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tell teller
		now := time.Unix(0, 0)
		var differs time.Time // since when what is differs from what was told
		for range 200 {
			r := Report{Slots: []intent.Slot{{Port: 1}}, NAT4: rapid.SampledFrom([]intent.NAT{"none", "easy", "hard"}).Draw(t, "nat")}
			tell.saw(r, now)
			if !r.equal(tell.told) && differs.IsZero() {
				differs = now
			} else if r.equal(tell.told) {
				differs = time.Time{}
			}
			next := now.Add(time.Duration(rapid.IntRange(1, 400).Draw(t, "ms")) * time.Millisecond)
			for at := tell.due(); !at.IsZero() && !at.After(next); at = tell.due() {
				if told := tell.tell(at); told == nil || !told.equal(r) {
					t.Fatalf("told %+v, is %+v", told, r)
				} else if at.Sub(differs) > time.Second {
					t.Fatalf("told after %v", at.Sub(differs))
				}
				differs = time.Time{}
			}
			now = next
		}
	})
}

// A name is resolved again; what it had stands while nobody answers.
func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answer atomic.Pointer[[]netip.Addr]
		say := func(list ...string) { a := addrs(list...); answer.Store(&a) }
		say("203.0.113.7", "203.0.113.6")
		n := newNode(t, newNetwork(), "n1", "192.0.2.1", Config{
			External: []string{"198.51.100.1", "n1.example.com"},
			Resolve: func(ctx context.Context, name string) ([]netip.Addr, error) {
				if _, bounded := ctx.Deadline(); !bounded || name != "n1.example.com" {
					t.Errorf("%s asked", name)
				}
				if a := *answer.Load(); len(a) > 0 {
					return slices.Clone(a), nil
				}
				return nil, errors.New("no such host")
			},
		})
		know(n)
		run(t, n)
		pass(time.Second)
		for _, c := range []struct {
			say, want []string
			moved     bool
			wait      time.Duration
		}{
			{nil, []string{"198.51.100.1:51820 external", "203.0.113.6:51820 external", "203.0.113.7:51820 external", "192.0.2.1:51820 interface"}, false, 0},
			{[]string{}, []string{"198.51.100.1:51820 external", "203.0.113.6:51820 external", "203.0.113.7:51820 external", "192.0.2.1:51820 interface"}, false, 10 * resolveEvery},
			{[]string{"203.0.113.9"}, []string{"198.51.100.1:51820 external", "203.0.113.9:51820 external", "192.0.2.1:51820 interface"}, false, resolveEvery + time.Second},
			{[]string{"203.0.113.8"}, []string{"198.51.100.1:51820 external", "203.0.113.8:51820 external", "192.0.2.1:51820 interface"}, true, time.Second},
		} {
			if c.say != nil {
				say(c.say...)
			}
			if c.moved {
				n.Moved()
			}
			pass(c.wait)
			if diff := cmp.Diff(c.want, lines(n.Report().Candidates)); diff != "" {
				t.Errorf("%v: %s", c.say, diff)
			}
		}
	})
}

// What one peer alone has seen is no candidate; what two have is, and ends.
func TestSeenByPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		var all []*node
		for i := range 4 {
			all = append(all, newNode(t, net, fmt.Sprintf("n%d", i+1), fmt.Sprintf("192.0.2.%d", i+1), Config{}))
		}
		know(all...)
		all[0].set(func() { all[0].addrs = nil }) // behind a router: peers see another address than its own
		run(t, all...)
		for i, want := range [][]string{nil, {"192.0.2.1:51820 peer"}, {"192.0.2.1:51820 peer"}} {
			all[0].do(mesh.Probe{ID: uint64(i), Peer: all[i+1].name, To: to(all[i+1])})
			pass(time.Second)
			if diff := cmp.Diff(want, lines(all[0].Report().Candidates)); diff != "" {
				t.Errorf("after %d peers: %s", i+1, diff)
			}
		}
		pass(peerStands + time.Second)
		if got := all[0].Report().Candidates; len(got) > 0 {
			t.Errorf("still %v", lines(got))
		}
	})
}

// What one peer has seen counts where it is a port of a router that an echo has seen,
// and few are known: nothing new with each answer where each peer sees another.
func TestMoved(t *testing.T) {
	at := func(source intent.Source, slot uint8, a string) intent.Candidate {
		return intent.Candidate{Addr: netip.MustParseAddrPort(a), Slot: slot, Source: source}
	}
	echo := at(intent.FromEcho, 0, "198.51.100.9:51820")
	var full []intent.Candidate
	for i := range maxOfPeer {
		full = append(full, at(intent.FromPeer, 0, fmt.Sprintf("198.51.100.9:%d", 1024+i)))
	}
	for _, c := range []struct {
		name  string
		known []intent.Candidate
		seen  string
		want  bool
	}{
		{"no echo has answered", nil, "198.51.100.9:7", false},
		{"another port of the router", []intent.Candidate{echo}, "198.51.100.9:7", true},
		{"another router", []intent.Candidate{echo}, "198.51.100.8:7", false},
		{"the router of another slot", []intent.Candidate{at(intent.FromEcho, 1, "198.51.100.9:51821")}, "198.51.100.9:7", false},
		{"as many as there may be", append(full, echo), "198.51.100.9:7", false},
		{"one of them", append(full, echo), "198.51.100.9:1024", true},
	} {
		var p pool
		for _, k := range c.known {
			p.put(k, time.Unix(0, 0))
		}
		if got := p.moved(at(intent.FromPeer, 0, c.seen)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// Devices are asked each second and when the machine wants to look; it hears of what
// is new only, and of peers only.
func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := two(t)
		key := b.slots[0].Key
		a.set(func() {
			a.devices = []Device{{Dev: "weft-wg0", Key: key, Endpoint: to(b), Received: 7}, {Dev: "weft-wg0", Key: intent.Key{9}}}
		})
		pass(2 * time.Second)
		want := []mesh.Device{{Peer: "n2", Endpoint: to(b), Received: 7}}
		if diff := cmp.Diff(want, heard[mesh.Device](a.machine), compare); diff != "" {
			t.Error(diff)
		}
		pass(10 * time.Second)
		if got := heard[mesh.Device](a.machine); len(got) > 0 {
			t.Errorf("told what it knew: %+v", got)
		}
		pass(pollApart)
		a.set(func() { a.devices[0].Received = 8 })
		a.do(mesh.Look{})
		pass(pollApart)
		if got := heard[mesh.Device](a.machine); len(got) != 1 || got[0].Received != 8 {
			t.Errorf("after a look: %+v", got)
		}
	})
}

// Through the data path: which device, from where to where, and whose answer counts.
func TestInner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := two(t)
		for id, c := range map[uint64]struct {
			over mesh.Over
			dev  string
		}{
			1: {mesh.Over{Rung: mesh.Direct}, "eth0"},
			2: {mesh.Over{Rung: mesh.VXLAN}, "weft-vx"},
			3: {mesh.Over{Rung: mesh.VXLAN, Spare: true}, "weft-vy"},
			4: {mesh.Over{Rung: mesh.WireGuard}, "weft-wg0"},
			5: {mesh.Over{Rung: mesh.WireGuard, Slot: 1}, "weft-wg1"},
		} {
			a.do(mesh.ProbeInner{ID: id, Peer: "n2", Over: c.over, Size: 1300})
			synctest.Wait()
			sent := a.wire.through()
			if want := (probe.Request{ID: id, Dev: c.dev, From: netip.MustParseAddr("10.42.1.0"), To: netip.MustParseAddr("10.42.2.0"), Size: 1300}); sent != want {
				t.Errorf("%+v, want %+v", sent, want)
			}
			pass(3 * time.Millisecond)
			for _, r := range []probe.Reply{
				{ID: id, From: netip.MustParseAddr("10.42.3.0"), Size: 1300, At: time.Now()},      // another node's
				{ID: id + 10, From: netip.MustParseAddr("10.42.2.0"), Size: 1300, At: time.Now()}, // not asked
				{ID: id, From: netip.MustParseAddr("10.42.2.0"), Size: 1300, At: time.Now()},
				{ID: id, From: netip.MustParseAddr("10.42.2.0"), Size: 1300, At: time.Now()}, // twice
			} {
				a.wire.answered(r)
			}
			synctest.Wait()
			want := []mesh.Inner{{ID: id, Peer: "n2", Over: c.over, Size: 1300, RTT: 3 * time.Millisecond}}
			if diff := cmp.Diff(want, heard[mesh.Inner](a.machine)); diff != "" {
				t.Error(diff)
			}
		}
		_ = b
	})
}

// TestNoDirectRoute: a probe of the direct rung is not sent where no direct route is, for
// a default route on the link might have it answered.
func TestNoDirectRoute(t *testing.T) {
	for pair, want := range map[[2]string]error{
		{"10.0.0.1/24", "10.0.0.2/24"}: nil,
		{"10.0.0.1/24", "10.0.1.2/24"}: errApart,
		{"10.0.0.1/32", "10.0.0.2/32"}: errApart,
		{"10.0.0.1/32", "10.0.0.2/24"}: errApart,
	} {
		d := driver{cfg: &Config{Self: "n0"}}
		d.in.Intent = intent.Node{Name: "n0", Cluster: intent.Cluster{Backend: intent.Auto, Encryption: intent.EncryptNever, CIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}}}
		for i, addr := range pair {
			d.in.Intent.Peers = append(d.in.Intent.Peers, intent.Peer{
				Name: fmt.Sprint("n", i), Lease: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 42, byte(i), 0}), 24)},
				Underlay: []intent.Underlay{{Addr: netip.MustParsePrefix(addr), Device: "eth0", MTU: 1500}},
			})
		}
		if r, err := d.request(mesh.ProbeInner{Peer: "n1", Over: mesh.Over{Rung: mesh.Direct}}); !errors.Is(err, want) || want == nil && r.Dev != "eth0" {
			t.Errorf("%v: %v, %v; want %v", pair, r, err, want)
		}
	}
}

// Choices are told when they are others, and not else.
func TestChoices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := two(t)
		was := a.changed
		a.Kick()
		synctest.Wait()
		if a.changed != was {
			t.Error("told without a change")
		}
		next := map[string]mesh.Choice{"n2": {Rung: mesh.WireGuard}}
		a.machine.choose(next)
		a.Kick()
		synctest.Wait()
		if a.changed != was+1 || a.Choices()["n2"].Rung != mesh.WireGuard {
			t.Errorf("%d times, %+v", a.changed-was, a.Choices())
		}
	})
}
