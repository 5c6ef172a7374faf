package mesh

import (
	"cmp"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// TestAddressThatIsWithdrawn: a peer that names the address in use no more is sent to at
// another one that is proved, as long as the old one works; from the higher-named end as
// well as from the lower.
func TestAddressThatIsWithdrawn(t *testing.T) {
	old, next := netip.MustParseAddrPort("192.0.2.1:51820"), netip.MustParseAddrPort("192.0.2.2:51820")
	for _, self := range []string{"a", "c"} {
		now := time.Unix(1e9, 0)
		m := New(self, now)
		input := func(peer ...netip.AddrPort) Input {
			node := func(name string, key byte, addrs ...netip.AddrPort) intent.Peer {
				p := intent.Peer{
					Name: name, Lease: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 42, key, 0}), 24)},
					Slots: []intent.Slot{{Key: intent.Key{key}, Port: 51820}}, NAT4: intent.NATNone,
				}
				for _, addr := range addrs {
					p.Candidates = append(p.Candidates, intent.Candidate{Addr: addr, Source: intent.FromInterface})
				}
				return p
			}
			own := netip.MustParseAddrPort("198.51.100.1:51820")
			peers := []intent.Peer{node(self, 1, own), node("b", 2, peer...)}
			slices.SortFunc(peers, func(x, y intent.Peer) int { return cmp.Compare(x.Name, y.Name) })
			return Input{Intent: intent.Node{
				Name: self, Cluster: intent.Cluster{Backend: intent.WireGuard, CIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}},
				Peers: peers,
			}}
		}
		var endpoint netip.AddrPort // that the kernel has
		run := func(d time.Duration) {
			for end := now.Add(d); now.Before(end); now = now.Add(50 * time.Millisecond) {
				acts, _ := m.Step(now)
				for _, a := range acts {
					switch a := a.(type) {
					case Probe:
						m.Event(Answered{ID: a.ID, Peer: "b", Slot: a.Slot, From: a.To, RTT: time.Millisecond}, now)
					case ProbeInner:
						m.Event(Inner{ID: a.ID, Peer: "b", Over: a.Over, Size: a.Size, RTT: time.Millisecond}, now)
					}
				}
				if to := m.Choices()["b"].Peers[0].Endpoint; to.IsValid() {
					endpoint = to
				}
				m.Event(Device{Peer: "b", Endpoint: endpoint, Handshake: now}, now)
			}
		}
		m.Set(input(old), now)
		run(5 * time.Second)
		m.Set(input(old, next), now)
		run(20 * time.Second)
		if endpoint != old {
			t.Errorf("%s: goes to %v without need", self, endpoint)
		}
		m.Set(input(next), now)
		run(time.Second)
		if endpoint != next {
			t.Errorf("%s: still sends to %v", self, endpoint)
		}
	}
}
