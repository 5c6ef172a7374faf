package mesh

import (
	"net/netip"
	"testing"

	"github.com/weft-net/weft/proto/intent"
	"pgregory.net/rapid"
)

// behindOne is a node behind a router, with one key: of port, seen by the servers, and by
// their echo as the last, if that is not empty.
func behindOne(name, own string, port uint16, nat intent.NAT, echo string) intent.Peer {
	at := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	p := intent.Peer{Name: name, NAT4: nat, Slots: []intent.Slot{{Slot: 0, Port: port}}, Candidates: []intent.Candidate{
		{Addr: netip.AddrPortFrom(netip.MustParseAddr(own), port), Source: intent.FromInterface},
		{Addr: netip.AddrPortFrom(netip.MustParseAddr("203.0.113.1"), port), Source: intent.FromServer},
	}}
	if echo != "" {
		p.Candidates = append(p.Candidates, intent.Candidate{Addr: at(echo), Source: intent.FromEcho})
	}
	return p
}

// TestClash: who is behind one router and has one port clashes if the router does not keep
// the two apart, and else not. Both ends see the same.
func TestClash(t *testing.T) {
	first := behindOne("n1", "192.168.1.2", 51820, intent.NATEasy, "203.0.113.1:51820")
	refused := "the router 203.0.113.1 lets UDP 51820 of n1 and n2 out of one of them only"
	leaving := behindOne("n2", "192.168.1.3", 51820, intent.NATBlocked, "")
	leaving.Slots[0].Leaving = true
	elsewhere := behindOne("n2", "192.168.1.3", 51820, intent.NATBlocked, "")
	elsewhere.Candidates[1].Addr = netip.MustParseAddrPort("203.0.113.9:51820")
	public := behindOne("n2", "203.0.113.1", 51820, intent.NATBlocked, "")
	for _, c := range []struct {
		what   string
		first  intent.Peer
		second intent.Peer
		want   string
	}{
		{"the second gets another port", first, behindOne("n2", "192.168.1.3", 51820, intent.NATEasy, "203.0.113.1:40000"), ""},
		{"the second is not let out", first, behindOne("n2", "192.168.1.3", 51820, intent.NATBlocked, ""), refused},
		{"the first is not, who came later", behindOne("n1", "192.168.1.2", 51820, intent.NATBlocked, ""), behindOne("n2", "192.168.1.3", 51820, intent.NATEasy, "203.0.113.1:51820"), refused},
		{"both are seen as one", first, behindOne("n2", "192.168.1.3", 51820, intent.NATEasy, "203.0.113.1:51820"), "the router 203.0.113.1 takes UDP 51820 of n1 and n2 for one"},
		{"another port", first, behindOne("n2", "192.168.1.3", 51900, intent.NATBlocked, ""), ""},
		{"nobody is let out", behindOne("n1", "192.168.1.2", 51820, intent.NATBlocked, ""), behindOne("n2", "192.168.1.3", 51820, intent.NATBlocked, ""), ""},
		{"nothing is known yet", first, behindOne("n2", "192.168.1.3", 51820, "", ""), ""},
		{"the first has not the port it could keep from the second", behindOne("n1", "192.168.1.2", 51820, intent.NATEasy, "203.0.113.1:40000"), behindOne("n2", "192.168.1.3", 51820, intent.NATBlocked, ""), ""},
		{"the key goes", first, leaving, ""},
		{"another router", first, elsewhere, ""},
		{"no router", first, public, ""},
	} {
		nodes := []intent.Peer{c.first, c.second, behindOne("n0", "192.168.1.4", 51822, intent.NATEasy, "203.0.113.1:51822")}
		for i, name := range []string{"n1", "n2"} {
			got := ""
			clash, ok := ClashOf(nodes, name)
			if ok {
				got = clash.Of(name)
			}
			if got != c.want || ok && clash.With != []string{"n2", "n1"}[i] {
				t.Errorf("%s, %s: %q with %q; want %q", c.what, name, got, clash.With, c.want)
			}
		}
		if _, ok := ClashOf(nodes, "n0"); ok {
			t.Errorf("%s: n0 clashes, whose port nobody else has", c.what)
		}
	}
	if _, ok := ClashOf(nil, "n1"); ok {
		t.Error("a clash of nobody")
	}
}

// TestShiftOf: a node's name says how far it goes, past ports that are taken.
func TestShiftOf(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.StringMatching(`n[0-9]{1,4}`).Draw(rt, "name")
		base := rapid.Uint16Range(1, 65534).Draw(rt, "base")
		taken := map[uint16]bool{}
		free := func(port uint16) bool { return !taken[port] }
		for range intent.PortShifts {
			shift := ShiftOf(name, base, free)
			if shift == 0 || shift > intent.PortShifts || shift != ShiftOf(name, base, free) {
				rt.Fatalf("shift %d", shift)
			}
			port := intent.WireGuardPort(base, shift, uint8(rapid.IntRange(0, 1).Draw(rt, "slot")))
			if taken[port] {
				rt.Fatalf("%d is taken", port)
			}
			taken[port] = true
		}
		if shift := ShiftOf(name, base, free); shift != 0 {
			rt.Fatalf("shift %d, though no port is free", shift)
		}
	})
}
