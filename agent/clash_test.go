package agent

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
)

// TestClashing: the node with the later name goes, once the same clash has stood for long
// enough.
func TestClashing(t *testing.T) {
	start := time.Unix(1e9, 0)
	a := mesh.Clash{With: "n1", Router: netip.MustParseAddr("203.0.113.1"), Port: 51820, Refused: true}
	b, later := a, a
	b.Refused, later.With = false, "n3"
	type look struct {
		at   time.Duration
		with mesh.Clash
		ok   bool
		want bool
	}
	for _, c := range []struct {
		what  string
		looks []look
	}{
		{"refused", []look{{0, a, true, false}, {refusedFor - 1, a, true, false}, {refusedFor, a, true, true}}},
		{"taken for one", []look{{0, b, true, false}, {refusedFor, b, true, false}, {mistakenFor, b, true, true}}},
		{"it ended meanwhile", []look{{0, a, true, false}, {1, a, false, false}, {refusedFor, a, true, false}, {2 * refusedFor, a, true, true}}},
		{"it is another", []look{{0, b, true, false}, {mistakenFor, a, true, false}}},
		{"the other goes", []look{{0, later, true, false}, {time.Hour, later, true, false}}},
		{"none", []look{{0, a, false, false}, {time.Hour, a, false, false}}},
	} {
		var s clashing
		for _, l := range c.looks {
			if got := s.see("n2", l.with, l.ok, start.Add(l.at)); got != l.want {
				t.Errorf("%s, after %v: %v", c.what, l.at, got)
			}
		}
	}
}

// sharing is n1 and n2 behind a router that lets out only n1.
func sharing(slots ...intent.Slot) intent.Node {
	at := func(s string, source intent.Source) intent.Candidate {
		return intent.Candidate{Addr: netip.MustParseAddrPort(s), Source: source}
	}
	return intent.Node{Name: "n2", Cluster: intent.Cluster{Backend: intent.WireGuard}, Peers: []intent.Peer{
		{Name: "n1", NAT4: intent.NATEasy, Slots: []intent.Slot{{Port: 51820}}, Candidates: []intent.Candidate{
			at("192.168.1.2:51820", intent.FromInterface), at("203.0.113.1:51820", intent.FromEcho),
		}},
		{Name: "n2", NAT4: intent.NATBlocked, Slots: slots, Candidates: []intent.Candidate{
			at("192.168.1.3:51820", intent.FromInterface), at("203.0.113.1:51820", intent.FromServer),
		}},
	}}
}

// TestAvoid: a node that clashes has other ports from then on, which the next process finds
// too, and says so; while keys change it waits.
func TestAvoid(t *testing.T) {
	n := sharing(intent.Slot{Port: 51820})
	p := &pairs{node: "n2", log: slog.New(slog.DiscardHandler), ring: ringIn(t), intent: func() (intent.Node, bool) { return n, true }}
	if err := p.ring.Need(0, 51820); err != nil {
		t.Fatal(err)
	}
	look := func(at time.Duration) bool {
		t.Helper()
		fresh, err := p.avoid(time.Unix(1e9, 0).Add(at))
		if err != nil {
			t.Fatal(err)
		}
		return fresh
	}
	if look(0) || look(refusedFor-1) || p.old(n.Cluster, time.Now()) || p.shifted() != "" {
		t.Error("it goes at once")
	}
	if got, want := clashed(n, "n2"), "nothing: the router 203.0.113.1 lets UDP 51820 of n1 and n2 out of one of them only, so that n2 goes to another port by itself"; got != want {
		t.Errorf("to climb: %s\nwant:     %s", got, want)
	}
	busy := sharing(intent.Slot{Port: 51820})
	busy.Peers[0].Slots = append(busy.Peers[0].Slots, intent.Slot{Slot: 1, Port: 51821})
	quiet := n
	if n = busy; look(refusedFor) {
		t.Error("it goes while keys change")
	}
	if n = quiet; !look(refusedFor) || !p.old(n.Cluster, time.Now()) {
		t.Error("it does not go")
	}
	port := p.free(1)
	if port != intent.WireGuardPort(51820, p.ring.Shift(), 1) || port < 51823 || port > 51949 {
		t.Errorf("it goes to %d", port)
	}
	if p.shifted() == "" {
		t.Error("it does not say so")
	}
	if look(time.Hour) || look(2*time.Hour) {
		t.Error("it goes again, to the same ports")
	}
}
