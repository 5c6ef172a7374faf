package paths

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/proto/echo"
	"github.com/weft-net/weft/proto/intent"
)

// offered is what a server that answers offers.
func offered() Offer {
	return Offer{Addrs: []netip.Addr{echoServer}, Ports: []uint16{7443, 7444}, Cookie: echo.Cookie{7}, Until: time.Now().Add(time.Hour)}
}

// as is what a router makes of a source: of the one that goes to the second port too.
func as(first, second string) func(netip.AddrPort, uint16) (netip.AddrPort, bool) {
	return func(_ netip.AddrPort, to uint16) (netip.AddrPort, bool) {
		s := first
		if to == 7444 {
			s = second
		}
		a, err := netip.ParseAddrPort(s)
		return a, err == nil
	}
}

// One line a router: what the server sees of the two datagrams.
func TestClasses(t *testing.T) {
	for _, c := range []struct {
		name, first, second string
		want                intent.NAT
		candidates          []string
	}{
		{"no NAT", "192.0.2.1:51820", "192.0.2.1:51820", intent.NATNone, []string{"192.0.2.1:51820 interface"}},
		{"port-preserving", "198.51.100.9:51820", "198.51.100.9:51820", intent.NATEasy, []string{"192.0.2.1:51820 interface", "198.51.100.9:51820 echo"}},
		{"another port, always the same", "198.51.100.9:1025", "198.51.100.9:1025", intent.NATEasy, []string{"192.0.2.1:51820 interface", "198.51.100.9:1025 echo"}},
		{"another port on the own address", "192.0.2.1:1025", "192.0.2.1:1025", intent.NATEasy, []string{"192.0.2.1:51820 interface", "192.0.2.1:1025 echo"}},
		{"symmetric", "198.51.100.9:1025", "198.51.100.9:1026", intent.NATHard, []string{"192.0.2.1:51820 interface", "198.51.100.9:1025 echo", "198.51.100.9:1026 echo"}},
		{"two addresses outside", "198.51.100.9:51820", "198.51.100.8:51820", intent.NATHard, []string{"192.0.2.1:51820 interface", "198.51.100.8:51820 echo", "198.51.100.9:51820 echo"}},
		{"one port answers", "198.51.100.9:1025", "", "", []string{"192.0.2.1:51820 interface", "198.51.100.9:1025 echo"}},
		{"UDP blocked", "", "", intent.NATBlocked, []string{"192.0.2.1:51820 interface"}},
		{"a server that lies: loopback", "127.0.0.1:51820", "127.0.0.1:51820", intent.NATEasy, []string{"192.0.2.1:51820 interface"}},
		{"a server that lies: another family", "[2001:db8::1]:1", "[2001:db8::1]:1", intent.NATBlocked, []string{"192.0.2.1:51820 interface"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newNetwork()
				net.echo = as(c.first, c.second)
				n := newNode(t, net, "n1", "192.0.2.1", Config{})
				n.offer = offered()
				know(n)
				run(t, n)
				pass(3 * time.Second)
				r := n.Report()
				if r.NAT4 != c.want || r.NAT6 != "" {
					t.Errorf("class %q and %q, want %q", r.NAT4, r.NAT6, c.want)
				}
				if diff := cmp.Diff(c.candidates, lines(r.Candidates)); diff != "" {
					t.Error(diff)
				}
				self, _ := n.machine.last().Intent.Self()
				if diff := cmp.Diff(c.candidates, lines(self.Candidates)); diff != "" || self.NAT4 != c.want {
					t.Errorf("the machine was told NAT %q, %s", self.NAT4, diff)
				}
			})
		})
	}
}

func lines(list []intent.Candidate) []string {
	var out []string
	for _, c := range list {
		s := c.Addr.String() + " " + string(c.Source)
		if c.Slot != 0 {
			s += " in slot 1"
		}
		out = append(out, s)
	}
	return out
}

// Of the family by which the server was not reached, silence says nothing.
func TestOtherFamily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, newNetwork(), "n1", "192.0.2.1", Config{})
		n.offer = offered()
		n.offer.Addrs = append(n.offer.Addrs, netip.MustParseAddr("2001:db8::1"))
		know(n)
		run(t, n)
		pass(10 * time.Second)
		if r := n.Report(); r.NAT4 != intent.NATBlocked || r.NAT6 != "" {
			t.Errorf("classes %q and %q", r.NAT4, r.NAT6)
		}
		asked := slices.ContainsFunc(n.wire.out(), func(d probe.Datagram) bool { return d.Remote.Addr().Is6() })
		if !asked {
			t.Error("not asked")
		}
	})
}

// A router that is restarted gives another port, and the class becomes another: both
// are noticed with the next round, at once when the node's network has changed.
func TestAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		net.set(as("198.51.100.9:1025", "198.51.100.9:1025"))
		n := newNode(t, net, "n1", "192.0.2.1", Config{})
		n.offer = offered()
		know(n)
		run(t, n)
		pass(3 * time.Second)
		net.set(as("198.51.100.9:2001", "198.51.100.9:2002"))
		pass(askEvery + 3*time.Second)
		if r := n.Report(); r.NAT4 != intent.NATHard {
			t.Errorf("class %q", r.NAT4)
		}
		net.set(as("198.51.100.9:1025", "198.51.100.9:1025"))
		n.Moved()
		pass(time.Second)
		if r := n.Report(); r.NAT4 != intent.NATEasy || len(heardChanged(n)) == 0 {
			t.Errorf("class %q", r.NAT4)
		}
		net.set(as("", ""))
		pass(echoStands + askEvery)
		if r := n.Report(); r.NAT4 != intent.NATBlocked || len(r.Candidates) != 1 {
			t.Errorf("class %q, %v", r.NAT4, lines(r.Candidates))
		}
	})
}

// What an earlier run has said stands until it is asked again: nothing changes for
// peers when an agent is started anew.
func TestRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		net.set(as("198.51.100.9:1025", "198.51.100.9:1025"))
		n := newNode(t, net, "n1", "192.0.2.1", Config{})
		n.offer = offered()
		n.peers = []intent.Peer{{Name: "n1", NAT4: intent.NATEasy, NAT6: intent.NATBlocked, Candidates: []intent.Candidate{
			{Addr: netip.MustParseAddrPort("192.0.2.7:51820"), Source: intent.FromInterface},
			{Addr: netip.MustParseAddrPort("198.51.100.9:1025"), Source: intent.FromEcho},
		}}}
		run(t, n)
		pass(3 * time.Second)
		for i, r := range n.reports() {
			if diff := cmp.Diff([]string{"192.0.2.1:51820 interface", "198.51.100.9:1025 echo"}, lines(r.Candidates)); diff != "" || r.NAT4 != intent.NATEasy {
				t.Errorf("report %d: NAT %q, %s", i, r.NAT4, diff)
			}
		}
		if got := n.Report().NAT6; got != "" {
			t.Errorf("NAT6 is still %q, and nobody can be asked", got)
		}
	})
}

// Nobody is asked with a cookie that has ended, nor at a rate beyond three tries a
// round and port.
func TestAskedSparsely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		n := newNode(t, net, "n1", "192.0.2.1", Config{})
		n.offer = offered()
		n.offer.Until = time.Now().Add(5 * time.Minute)
		know(n)
		run(t, n)
		pass(10 * time.Minute)
		if most := 2 * askTries * int(5*time.Minute/askEvery+1); net.questions() > most || net.questions() == 0 {
			t.Errorf("%d questions, at most %d", net.questions(), most)
		}
	})
}

// An answer that was not asked for, or comes from elsewhere, is not believed.
func TestForgedEcho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		n := newNode(t, net, "n1", "192.0.2.1", Config{})
		n.offer = offered()
		know(n)
		run(t, n)
		pass(askSoon)
		q, err := echo.ParseRequest(n.wire.out()[0].Data)
		if err != nil {
			t.Fatal(err)
		}
		lie := netip.MustParseAddrPort("198.51.100.66:666")
		for _, r := range []struct {
			id   uint64
			from netip.AddrPort
		}{{q.ID + 1, netip.AddrPortFrom(echoServer, 7443)}, {q.ID, lie}, {q.ID, netip.AddrPortFrom(echoServer, 7444)}} {
			n.wire.come(probe.Datagram{Local: n.wire.addr, Port: 51820, Remote: r.from, Data: echo.Reply{ID: r.id, Observed: lie}.Bytes(), At: time.Now()})
		}
		pass(3 * time.Second)
		if got := lines(n.Report().Candidates); len(got) != 1 || n.Counts()["unasked"] != 3 {
			t.Errorf("%v, %v", got, n.Counts())
		}
	})
}
