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
)

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
		nodes string // name=applied, ! for one that is away; the carriage is of revision 9
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
		{"a third waits for the end", other, kind.CarriageSpec{Send: hostGW, Receive: list(vxlan), Switched: true}, "a=8", time.Hour, "wait for a"},
	} {
		began := time.Unix(1000, 0)
		c.at.AtUnix = began.Unix()
		s := Plan(c.want, Place{c.at, 9}, nodes(t, c.nodes), began.Add(c.after), Times{time.Minute, 2 * time.Second})
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
		name, rev, _ := strings.Cut(s, "=")
		n := Node{Name: name, Live: !away}
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
}

type modelled struct {
	at   int // revision that its kernel is at
	said int // that the server knows of
	live bool
}

func (m *model) cluster(rev int) intent.Cluster {
	c := m.history[rev]
	return intent.Cluster{Receive: c.Receive, Behind: c.Behind}.By(c.Send)
}

// check: what any node sends, the other end takes.
func (m *model) check(t *rapid.T) {
	for a, from := range m.nodes {
		for b, to := range m.nodes {
			by := m.cluster(from.at).Toward(a, b).Carrier()
			takes := m.cluster(to.at)
			if a != b && !slices.ContainsFunc(append([]intent.Carrier{takes.Carrier()}, takes.Receive...), by.Is) {
				t.Fatalf("%s (at %d: %s) sends by %v to %s, which is at %d: %s", a, from.at, text(m.history[from.at]), by, b, to.at, text(m.history[to.at]))
			}
		}
	}
}

func (m *model) join() {
	m.made++
	m.nodes[fmt.Sprint("n", m.made)] = &modelled{at: len(m.history) - 1, live: true}
}

func (m *model) told() []Node {
	var out []Node
	for name, n := range m.nodes {
		out = append(out, Node{Name: name, Applied: int64(n.said), Live: n.live})
	}
	return out
}

// TestNothingIsSentInVain: whatever an operator wants and takes back, whoever is away,
// comes, goes, or is slow, no node sends by what the other end does not take.
func TestNothingIsSentInVain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{history: []kind.CarriageSpec{{Send: vxlan}}, nodes: map[string]*modelled{}}
		for range 3 {
			m.join()
		}
		want, now := vxlan, time.Unix(1000, 0)
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			names := slices.Sorted(keys(m.nodes))
			n := m.nodes[rapid.SampledFrom(names).Draw(t, "node")]
			switch rapid.SampledFrom([]string{"want", "plan", "plan", "plan", "apply", "apply", "apply", "say", "say", "away", "time", "join", "delete"}).Draw(t, "what") {
			case "want":
				want = rapid.SampledFrom([]intent.Carrier{vxlan, hostGW, other}).Draw(t, "want")
			case "plan":
				last := len(m.history) - 1
				s := Plan(want, Place{m.history[last], int64(last)}, m.told(), now, Times{time.Minute, 2 * time.Second})
				if s.Reason != "" {
					s.Next.AtUnix = now.Unix()
					m.history = append(m.history, s.Next)
				}
			case "apply": // to some revision that it has not seen
				if n.live {
					n.at = rapid.IntRange(n.at, len(m.history)-1).Draw(t, "at")
				}
			case "say":
				n.said = n.at
			case "away":
				n.live = !n.live
			case "time":
				now = now.Add(rapid.SampledFrom([]time.Duration{time.Second, 3 * time.Second, 2 * time.Minute}).Draw(t, "time"))
			case "join":
				if len(m.nodes) < 5 {
					m.join()
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

// settle: once all are there and quiet, the fabric comes to what is wanted.
func (m *model) settle(t *rapid.T, want intent.Carrier, now time.Time) {
	for range 20 {
		for _, n := range m.nodes {
			n.live, n.at = true, len(m.history)-1
			n.said = n.at
			m.check(t)
		}
		now = now.Add(time.Minute)
		last := len(m.history) - 1
		if s := Plan(want, Place{m.history[last], int64(last)}, m.told(), now, Times{time.Minute, 2 * time.Second}); s.Reason != "" {
			s.Next.AtUnix = now.Unix()
			m.history = append(m.history, s.Next)
		}
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
