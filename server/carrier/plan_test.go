package carrier

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/kind"
)

var (
	vxlan  = intent.Carrier{Backend: intent.VXLAN, VNI: 4096, Port: 8472}
	other  = intent.Carrier{Backend: intent.VXLAN, VNI: 5000, Port: 8472}
	hostGW = intent.Carrier{Backend: intent.HostGW, VNI: 4096, Port: 8472}
	sealed = intent.Carrier{Backend: intent.WireGuard, VNI: 4096, Port: 8472}
	auto   = intent.Carrier{Backend: intent.Auto, VNI: 4096, Port: 8472, Encryption: intent.EncryptUntrusted}
	always = intent.Carrier{Backend: intent.Auto, VNI: 4096, Port: 8472, Encryption: intent.EncryptAlways}
)

var times = Times{Patience: time.Minute, Linger: 2 * time.Second, Yield: 10 * time.Second}

// text is a carriage as one would tell it.
func text(c kind.CarriageSpec) string {
	out := "send " + short(c.Send)
	for _, r := range c.Receive {
		out += " receive " + short(r)
	}
	if c.Switched {
		out += " switched"
	}
	if len(c.Behind) > 0 {
		out += " behind " + strings.Join(c.Behind, ",")
	}
	if len(c.Unaware) > 0 {
		out += " unaware " + strings.Join(c.Unaware, ",")
	}
	return out
}

func short(k intent.Carrier) string {
	s := string(k.Backend)
	if k.Encryption == intent.EncryptAlways {
		s = "always"
	}
	if k.VNI == other.VNI {
		s = "other"
	}
	if k.Spare {
		s += "(spare)"
	}
	return s
}

func TestPlan(t *testing.T) {
	spare := func(k intent.Carrier) intent.Carrier { k.Spare = true; return k }
	list := func(k ...intent.Carrier) []intent.Carrier { return k }
	for _, c := range []struct {
		name  string
		want  intent.Carrier
		at    kind.CarriageSpec
		nodes string // name=applied, ! for one that is away, + for one that knows meshes, with told:old pairs; the carriage is of revision 9
		after time.Duration
		step  string
	}{
		{"there", vxlan, kind.CarriageSpec{Send: vxlan}, "a=1", 0, ""},
		{"prepare", hostGW, kind.CarriageSpec{Send: vxlan}, "a=9", 0, "CarrierPrepared: send vxlan receive host-gw"},
		{"prepare another VXLAN", other, kind.CarriageSpec{Send: vxlan}, "a=9", 0, "CarrierPrepared: send vxlan receive other(spare)"},
		{"and the next is where the first was", vxlan, kind.CarriageSpec{Send: spare(other)}, "a=9", 0, "CarrierPrepared: send other(spare) receive vxlan"},
		{"prepared: wait for who is heard", hostGW, kind.CarriageSpec{Send: vxlan, Receive: list(hostGW)}, "a=9 b=8", time.Second, "wait for b"},
		{"but not for ever", hostGW, kind.CarriageSpec{Send: vxlan, Receive: list(hostGW)}, "a=9 b=8", time.Minute, "CarrierChanged: send host-gw receive vxlan switched behind b"},
		{"nor for who is away", hostGW, kind.CarriageSpec{Send: vxlan, Receive: list(hostGW)}, "a=9 c=3! b=8!", 0, "CarrierChanged: send host-gw receive vxlan switched behind b,c"},
		{"all are prepared", hostGW, kind.CarriageSpec{Send: vxlan, Receive: list(hostGW)}, "a=9 b=12", 0, "CarrierChanged: send host-gw receive vxlan switched"},
		{"an empty fabric", hostGW, kind.CarriageSpec{Send: vxlan, Receive: list(hostGW)}, "", 0, "CarrierChanged: send host-gw receive vxlan switched"},
		{"taken back before it was sent by", vxlan, kind.CarriageSpec{Send: vxlan, Receive: list(hostGW)}, "a=1", 0, "CarrierKept: send vxlan"},
		{"another meanwhile", other, kind.CarriageSpec{Send: vxlan, Receive: list(hostGW)}, "a=1", 0, "CarrierPrepared: send vxlan receive other(spare)"},
		{"switched: wait for all", hostGW, kind.CarriageSpec{Send: hostGW, Receive: list(vxlan), Switched: true}, "a=9 b=8!", time.Hour, "wait for b"},
		{"one is back", hostGW, kind.CarriageSpec{Send: hostGW, Receive: list(vxlan), Switched: true, Behind: []string{"b", "c"}}, "a=9 b=9 c=1!", 0, "CarrierChanged: send host-gw receive vxlan switched behind c"},
		{"one is deleted", hostGW, kind.CarriageSpec{Send: hostGW, Receive: list(vxlan), Switched: true, Behind: []string{"c"}}, "a=9", 0, "CarrierChanged: send host-gw receive vxlan switched"},
		{"what is on its way arrives", hostGW, kind.CarriageSpec{Send: hostGW, Receive: list(vxlan), Switched: true}, "a=9", time.Second, ""},
		{"the end", hostGW, kind.CarriageSpec{Send: hostGW, Receive: list(vxlan), Switched: true}, "a=9", 2 * time.Second, "CarrierLeft: send host-gw"},
		{"taken back after it was", vxlan, kind.CarriageSpec{Send: hostGW, Receive: list(vxlan), Switched: true, Behind: []string{"c"}}, "a=1 c=1!", 0, "CarrierChanged: send vxlan receive host-gw switched unaware c"},
		{"and again", hostGW, kind.CarriageSpec{Send: vxlan, Receive: list(hostGW), Switched: true, Unaware: []string{"c"}}, "a=1 c=1!", 0, "CarrierChanged: send host-gw receive vxlan switched behind c"},
		{"prepare wireguard", sealed, kind.CarriageSpec{Send: vxlan}, "a=9+", 0, "CarrierPrepared: send vxlan receive wireguard"},
		{"auto goes by the VXLAN devices there are", auto, kind.CarriageSpec{Send: spare(vxlan)}, "a=9+", 0, "CarrierPrepared: send vxlan(spare) receive auto(spare)"},
		{"and by others with another number", other, kind.CarriageSpec{Send: auto}, "a=9+", 0, "CarrierPrepared: send auto receive other(spare)"},
		{"whom to encrypt for is a change too", always, kind.CarriageSpec{Send: auto}, "a=9+", 0, "CarrierPrepared: send auto receive always"},
		{"all are prepared for wireguard", sealed, kind.CarriageSpec{Send: vxlan, Receive: list(sealed)}, "a=9+ b=10+", 0, "CarrierChanged: send wireguard receive vxlan switched"},
		{"an agent of the release before is behind, without patience", sealed, kind.CarriageSpec{Send: vxlan, Receive: list(sealed)}, "a=9+ b=10", 0, "CarrierChanged: send wireguard receive vxlan switched behind b"},
		{"pairs have not been told of", sealed, kind.CarriageSpec{Send: sealed, Receive: list(vxlan), Switched: true}, "a=9+9:0 b=9+", time.Hour, "wait for b"},
		{"a word of before does not count", sealed, kind.CarriageSpec{Send: sealed, Receive: list(vxlan), Switched: true}, "a=9+9:0 b=9+8:0", time.Hour, "wait for b"},
		{"pairs are still on their way", sealed, kind.CarriageSpec{Send: sealed, Receive: list(vxlan), Switched: true}, "a=9+9:0 b=9+9:2", time.Hour, "wait for b"},
		{"those of a node that is away are not waited for", sealed, kind.CarriageSpec{Send: sealed, Receive: list(vxlan), Switched: true}, "a=9+9:0 b=9+9:2!", time.Hour, "CarrierLeft: send wireguard"},
		{"who is behind is waited for first", sealed, kind.CarriageSpec{Send: sealed, Receive: list(vxlan), Switched: true, Behind: []string{"b"}}, "a=9+9:1 b=9", time.Hour, "wait for b,a"},
		{"all pairs have moved", sealed, kind.CarriageSpec{Send: sealed, Receive: list(vxlan), Switched: true}, "a=9+9:0 b=12+11:0", time.Hour, "CarrierLeft: send wireguard"},
		{"back from wireguard: pairs move too", vxlan, kind.CarriageSpec{Send: vxlan, Receive: list(sealed), Switched: true}, "a=9+9:1", time.Hour, "wait for a"},
		{"back from wireguard, which an old agent never left for", vxlan, kind.CarriageSpec{Send: vxlan, Receive: list(sealed), Switched: true, Unaware: []string{"b"}}, "a=9+9:0 b=9", time.Hour, "CarrierLeft: send vxlan"},
		{"a third waits for the end", other, kind.CarriageSpec{Send: hostGW, Receive: list(vxlan), Switched: true}, "a=8", time.Hour, "wait for a"},
		{"and for pairs that move", always, kind.CarriageSpec{Send: hostGW, Receive: list(auto), Switched: true}, "a=9+9:3", 9 * time.Second, "wait for a"},
		{"but not for those that do not", always, kind.CarriageSpec{Send: hostGW, Receive: list(auto), Switched: true, Behind: []string{"c"}}, "a=9+9:3 c=8+!", 10 * time.Second, "CarrierChanged: send auto receive host-gw switched unaware c"},
		{"nor is what is wanted given up", hostGW, kind.CarriageSpec{Send: hostGW, Receive: list(auto), Switched: true}, "a=9+9:3", time.Hour, "wait for a"},
	} {
		began := time.Unix(1000, 0)
		c.at.AtUnix = began.Unix()
		s := Plan(c.want, Place{CarriageSpec: c.at, Revision: 9}, nodes(t, c.nodes), began.Add(c.after), times)
		got := ""
		switch {
		case s.Reason != "":
			got = s.Reason + ": " + text(s.Next)
		case len(s.Waits) > 0:
			got = "wait for " + strings.Join(s.Waits, ",")
		}
		if diff := cmp.Diff(c.step, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func nodes(t *testing.T, in string) []Node {
	t.Helper()
	var out []Node
	for s := range strings.FieldsSeq(in) {
		s, away := strings.CutSuffix(s, "!")
		s, told, meshes := strings.Cut(s, "+")
		name, rev, _ := strings.Cut(s, "=")
		n := Node{Name: name, Live: !away, Meshes: meshes}
		if told != "" {
			if _, err := fmt.Sscanf(told, "%d:%d", &n.Told, &n.Old); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := fmt.Sscan(rev, &n.Applied); err != nil {
			t.Fatal(err)
		}
		out = append(out, n)
	}
	return out
}

// model is a fabric in which every node is at some revision of the carriage.
type model struct {
	history []kind.CarriageSpec // by revision
	nodes   map[string]*modelled
	made    int
	torn    string // a pair that could not move in its own time
	gaveUp  intent.Carrier
}

type modelled struct {
	at     int // revision that its kernel is at
	said   int // that the server knows of
	told   int // revision of its last word about its pairs
	old    int // that have not moved
	live   bool
	away   bool                      // it was, since it proved its pairs last: what it sent by may be gone
	meshes bool                      // its agent knows carriers whose pairs choose their way
	sends  map[string]intent.Carrier // by which it sends now, of pairs that choose
}

func (m *model) cluster(rev int) intent.Cluster {
	c := m.history[rev]
	return intent.Cluster{Receive: c.Receive, Behind: c.Behind}.By(c.Send)
}

// read is the revision that a node goes by: one that does not know meshes keeps the
// last that it could read.
func (m *model) read(n *modelled) int {
	rev := n.at
	for !n.meshes && rev > 0 && m.cluster(rev).Meshed() {
		rev--
	}
	return rev
}

// takes are the carriers by which a node receives.
func takes(c intent.Cluster) []intent.Carrier {
	return append([]intent.Carrier{c.Carrier()}, c.Receive...)
}

// by is how a node sends to another. Where pairs choose it stays by what it sent by
// before, until it has proved the way, or that is dropped.
func (m *model) by(a, b string) intent.Carrier {
	n := m.nodes[a]
	c := m.cluster(m.read(n))
	to := c.Toward(a, b).Carrier()
	now, chose := n.sends[b]
	switch chooses := c.Meshed() || now.Meshed(); {
	case chose && c.Meshed() && slices.ContainsFunc(takes(c), now.Is):
		return now
	case chose && chooses && !now.Is(to) && !n.away:
		m.torn = fmt.Sprintf("%s sends to %s by %v, which was dropped before %v was proved, at %d: %s", a, b, now, to, n.at, text(m.history[n.at]))
	}
	n.sends[b] = to
	return to
}

// moving counts the pairs of a node that are not where they should be.
func (m *model) moving(a string) int {
	n := m.nodes[a]
	count := 0
	for b := range m.nodes {
		if b != a && !m.cluster(m.read(n)).Toward(a, b).Carrier().Is(m.by(a, b)) {
			count++
		}
	}
	return count
}

// prove has the pairs of a node send as they should.
func (m *model) prove(a string) {
	n := m.nodes[a]
	for b := range m.nodes {
		n.sends[b] = m.cluster(m.read(n)).Toward(a, b).Carrier()
	}
	n.away = !n.live
}

// check: what any node sends, the other end takes. A node that came while the carriage
// was beyond it is nobody's: it has been told nothing.
func (m *model) check(t *rapid.T) {
	for a, from := range m.nodes {
		for b, to := range m.nodes {
			if a == b {
				continue
			}
			by, there := m.by(a, b), m.cluster(m.read(to))
			if m.torn != "" {
				t.Fatal(m.torn)
			}
			if !slices.ContainsFunc(takes(there), by.Is) {
				t.Fatalf("%s (at %d: %s) sends by %v to %s, which is at %d: %s", a, from.at, text(m.history[from.at]), by, b, to.at, text(m.history[m.read(to)]))
			}
		}
	}
}

func (m *model) join(meshes bool) {
	if !meshes && m.cluster(len(m.history)-1).Meshed() {
		return
	}
	m.made++
	m.nodes[fmt.Sprint("n", m.made)] = &modelled{at: len(m.history) - 1, live: true, meshes: meshes, sends: map[string]intent.Carrier{}}
}

func (m *model) told() []Node {
	var out []Node
	for name, n := range m.nodes {
		out = append(out, Node{Name: name, Applied: int64(n.said), Live: n.live, Meshes: n.meshes, Told: int64(n.told), Old: uint32(n.old)})
	}
	return out
}

// TestNothingIsSentInVain: whatever an operator wants and takes back, whoever is away,
// comes, goes, or is slow, no node sends by what the other end does not take.
func TestNothingIsSentInVain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{history: []kind.CarriageSpec{{Send: vxlan}}, nodes: map[string]*modelled{}}
		old := rapid.Bool().Draw(t, "old")
		m.join(!old)
		for range 2 {
			m.join(true)
		}
		want, now := vxlan, time.Unix(1000, 0)
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			names := slices.Sorted(keys(m.nodes))
			name := rapid.SampledFrom(names).Draw(t, "node")
			n := m.nodes[name]
			switch rapid.SampledFrom([]string{"want", "plan", "plan", "plan", "apply", "apply", "apply", "say", "say", "tell", "tell", "prove", "prove", "away", "time", "join", "delete"}).Draw(t, "what") {
			case "want":
				want = rapid.SampledFrom([]intent.Carrier{vxlan, hostGW, other, sealed, auto, always}).Draw(t, "want")
			case "plan":
				m.plan(want, now)
			case "apply": // to some revision that it has not seen
				if n.live {
					n.at = rapid.IntRange(n.at, len(m.history)-1).Draw(t, "at")
				}
			case "say":
				n.said = n.at
			case "tell":
				n.told, n.old = n.at, m.moving(name)
			case "prove":
				m.prove(name)
			case "away":
				n.live, n.away = !n.live, true
			case "time":
				now = now.Add(rapid.SampledFrom([]time.Duration{time.Second, 3 * time.Second, 2 * time.Minute}).Draw(t, "time"))
			case "join":
				if len(m.nodes) < 5 {
					m.join(rapid.Bool().Draw(t, "meshes"))
				}
			case "delete":
				if len(m.nodes) > 2 {
					delete(m.nodes, names[0])
				}
			}
			m.check(t)
		}
		m.settle(t, want, now)
	})
}

// plan takes the step that is due.
func (m *model) plan(want intent.Carrier, now time.Time) {
	last := len(m.history) - 1
	if s := Plan(want, Place{m.history[last], int64(last), m.gaveUp == want}, m.told(), now, times); s.Reason != "" {
		s.Next.AtUnix = now.Unix()
		m.history = append(m.history, s.Next)
		if s.For != (intent.Carrier{}) {
			m.gaveUp = s.For
		}
	}
}

// settle: once all are there, of this release, and quiet, the fabric comes to what is
// wanted.
func (m *model) settle(t *rapid.T, want intent.Carrier, now time.Time) {
	for round := range 60 { // what a node does in one, in some order
		for name, n := range m.nodes {
			n.live, n.meshes, n.at = true, true, len(m.history)-1
			n.said = n.at
			switch round % 3 {
			case 0:
				m.prove(name)
			case 1:
				n.told, n.old = n.at, m.moving(name)
			}
			m.check(t)
		}
		now = now.Add(time.Minute)
		m.plan(want, now)
		m.check(t)
	}
	if last := m.history[len(m.history)-1]; !last.Send.Is(want) || len(last.Receive) > 0 {
		t.Fatalf("wanted %v, ended with %s", want, text(last))
	}
}

func keys(m map[string]*modelled) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
