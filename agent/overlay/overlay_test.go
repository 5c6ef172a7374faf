package overlay

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
)

// TestObjectsAgree holds the invariant that Objects gives no two objects one
// key and different values, whatever the intent says.
func TestObjectsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := anyNode(t)
		objects, _ := Objects(n)
		if _, err := datapath.Merge(objects); err != nil {
			t.Fatal(err)
		}
		again, _ := Objects(n)
		if !slices.Equal(objects, again) {
			t.Fatal("planned twice, with different results")
		}
	})
}

var backends = []intent.Backend{intent.VXLAN, intent.HostGW, intent.None, intent.WireGuard, intent.Auto}

// anySlots draws devices of few keys, so that two nodes may have one.
func anySlots(t *rapid.T) []intent.Slot {
	var out []intent.Slot
	for slot := range uint8(intent.Slots) {
		if rapid.Bool().Draw(t, "slot there") {
			out = append(out, intent.Slot{Slot: slot, Key: intent.Key{slot, 31: rapid.ByteRange(1, 4).Draw(t, "key")}, Port: 51820 + uint16(slot)})
		}
	}
	return out
}

func anyChoice(t *rapid.T) mesh.Choice {
	c := mesh.Choice{
		Rung: mesh.Rung(rapid.IntRange(int(mesh.None), int(mesh.ByServer)).Draw(t, "rung")),
		Slot: rapid.Uint8Range(0, intent.Slots-1).Draw(t, "slot"), MTU: rapid.SampledFrom([]int{0, 60, 1200, 1400}).Draw(t, "path mtu"),
	}
	for i := range c.Peers {
		c.Peers[i] = mesh.Peer{There: rapid.Bool().Draw(t, "there"), Keepalive: time.Duration(rapid.IntRange(0, 25).Draw(t, "keepalive")) * time.Second}
	}
	return c
}

// TestNeverInTheClear: whatever is chosen, a pair that must be encrypted has no route
// by which a packet leaves in the clear, neither chosen nor standing by, and what is
// for the peer is refused where no other route leads. Only while the fabric still
// receives by a carrier in the clear may the pair stay on it.
func TestNeverInTheClear(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := anyNode(t)
		n.Intent.Cluster.Receive, n.Intent.Cluster.Behind = nil, nil
		self, ok := n.Intent.Self()
		objects, _ := Objects(n)
		if !ok || len(self.Lease) == 0 || !n.Intent.Cluster.Meshed() || len(n.Underlay) == 0 {
			return
		}
		self.Underlay = n.Underlay
		for _, peer := range n.Intent.Peers {
			may := n.Intent.Cluster.Ways(self, peer)
			if peer.Name == self.Name || may.VXLAN.OK || may.Direct.OK {
				continue
			}
			for _, lease := range peer.Lease {
				shared := slices.ContainsFunc(n.Intent.Peers, func(o intent.Peer) bool { return o.Name != peer.Name && slices.Contains(o.Lease, lease) })
				if !shared {
					sealedOnly(t, objects, lease)
				}
			}
		}
	})
}

// refuses tells whether packets go nowhere by a route: what is sent to a bridge that has
// no ports ends there.
func refuses(r datapath.Route) bool {
	return r.Type == datapath.Blackhole || r.Dev == datapath.FabricLink
}

// TestNothingStandsIn: of a pair that sends by none, no packet takes a route that
// stands by, though a tunnel is there for what is bound to its device.
func TestNothingStandsIn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := anyNode(t)
		n.Intent.Cluster.Backend = intent.WireGuard
		for name, c := range n.Choices {
			c.Rung = mesh.None
			n.Choices[name] = c
		}
		objects, _ := Objects(n)
		first := map[netip.Prefix]datapath.Route{}
		for _, o := range objects {
			if r, ok := o.(datapath.Route); ok {
				if was, seen := first[r.Dst]; !seen || r.Metric < was.Metric {
					first[r.Dst] = r
				}
			}
		}
		for _, peer := range n.Intent.Peers {
			if _, chosen := n.Choices[peer.Name]; !chosen || peer.Name == n.Intent.Name {
				continue
			}
			if toward := n.Intent.Cluster.Toward(n.Intent.Name, peer.Name); !toward.Carrier().Meshed() {
				continue // one of the two is behind: the pair goes on as it did, and chooses nothing
			}
			for _, lease := range peer.Lease {
				shared := slices.ContainsFunc(n.Intent.Peers, func(o intent.Peer) bool { return o.Name != peer.Name && slices.Contains(o.Lease, lease) })
				if r, routed := first[lease]; routed && !shared && !refuses(r) {
					t.Fatalf("%s sends by none, and %v", peer.Name, r)
				}
			}
		}
	})
}

func sealedOnly(t *rapid.T, objects []datapath.Object, lease netip.Prefix) {
	refused := false
	for _, o := range objects {
		r, ok := o.(datapath.Route)
		if !ok || r.Dst != lease {
			continue
		}
		refused = refused || refuses(r)
		if !refuses(r) && !strings.HasPrefix(r.Dev, "weft-wg") {
			t.Fatalf("in the clear: %v", r)
		}
	}
	if !refused {
		t.Fatalf("%v is not refused where no other route leads", lease)
	}
}

func anyCarrier(t *rapid.T) intent.Carrier {
	return intent.Carrier{
		Backend: rapid.SampledFrom(backends).Draw(t, "carrier"),
		VNI:     rapid.Uint32Range(4096, 4097).Draw(t, "vni"), Port: rapid.Uint16Range(8472, 8473).Draw(t, "port"),
		Spare: rapid.Bool().Draw(t, "spare device"),
	}
}

// anyNode draws from few values, so that collisions are common.
func anyNode(t *rapid.T) Node {
	leases := prefixes("10.42.0.0/16", "10.42.1.0/24", "10.42.2.0/24", "10.42.2.128/25", "fd42:0:0:1::/64", "fd42:0:0:2::/64", "fd42::/48")
	under := prefixes("10.0.0.1/24", "10.0.0.2/24", "10.9.0.1/24", "10.9.0.1/32", "fd00::1/64", "fd00::2/64")
	underlay := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) intent.Underlay {
		return intent.Underlay{
			Addr:   rapid.SampledFrom(under).Draw(t, "addr"),
			Device: rapid.SampledFrom([]string{"eth0", "eth1"}).Draw(t, "dev"),
			MTU:    rapid.SampledFrom([]int{0, 100, 1300, 1500, 9000}).Draw(t, "mtu"),
		}
	}), 0, 3)
	mac := rapid.Custom(func(t *rapid.T) intent.MAC {
		return intent.MAC{5: rapid.ByteRange(0, 3).Draw(t, "mac")}
	})
	n := Node{
		Underlay: underlay.Draw(t, "live"), VTEP: mac.Draw(t, "vtep"),
		AcceptRA: rapid.SliceOfN(rapid.SampledFrom([]string{"eth0", "eth1"}), 0, 2).Draw(t, "ra"),
	}
	n.Intent.Name = "n1"
	n.Intent.Cluster = intent.Cluster{
		CIDRs:   rapid.SliceOfN(rapid.SampledFrom(leases), 0, 2).Draw(t, "cidrs"),
		Backend: rapid.SampledFrom(backends).Draw(t, "backend"),
		VNI:     4096, VXLANPort: 8472,
		DirectRouting: rapid.Bool().Draw(t, "direct"),
		MTU:           rapid.SampledFrom([]int{0, 1200, 1400, 9000}).Draw(t, "mtu"),
		Spare:         rapid.Bool().Draw(t, "spare"),
		Receive:       rapid.SliceOfN(rapid.Custom(anyCarrier), 0, 3).Draw(t, "receive"),
		Behind:        rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"n1", "n2", "n3"}), 0, 2, rapid.ID).Draw(t, "behind"),
	}
	n.Intent.Cluster.Encryption = rapid.SampledFrom([]intent.Encryption{intent.EncryptNever, intent.EncryptUntrusted, intent.EncryptAlways}).Draw(t, "encryption")
	n.Slots, n.Choices = anySlots(t), map[string]mesh.Choice{}
	for i := range rapid.IntRange(0, 6).Draw(t, "peers") {
		name := fmt.Sprintf("n%d", i)
		if rapid.Bool().Draw(t, "chosen") {
			n.Choices[name] = anyChoice(t)
		}
		n.Intent.Peers = append(n.Intent.Peers, intent.Peer{
			Name:     name,
			Slots:    anySlots(t),
			Labels:   map[string]string{intent.SiteLabel: rapid.SampledFrom([]string{"", "paris", "oslo"}).Draw(t, "site")},
			Lease:    rapid.SliceOfN(rapid.SampledFrom(leases), 0, 3).Draw(t, "lease"),
			Underlay: underlay.Draw(t, "underlay"),
			VTEP:     mac.Draw(t, "vtep"),
		})
	}
	return n
}

func prefixes(in ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range in {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// fleet is a dual-stack cluster of VXLAN nodes, seen by the first.
func fleet(peers int) Node {
	n := Node{VTEP: intent.MAC{2, 0x57}}
	n.Intent = intent.Node{Name: "n0000", Revision: 1, Cluster: intent.Cluster{
		CIDRs: prefixes("10.0.0.0/8", "fd42::/32"), Backend: intent.VXLAN, VNI: 4096, VXLANPort: 8472,
	}}
	for i := range peers + 1 {
		hi, lo := byte(i>>8), byte(i)
		n.Intent.Peers = append(n.Intent.Peers, intent.Peer{
			Name: fmt.Sprintf("n%04d", i),
			VTEP: intent.MAC{2, 0x57, 0, 0, hi, lo},
			Lease: []netip.Prefix{
				netip.PrefixFrom(netip.AddrFrom4([4]byte{10, hi, lo, 0}), 24),
				netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x42, 6: hi, 7: lo}), 64),
			},
			Underlay: []intent.Underlay{{
				Addr: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, hi, lo}), 16), Device: "eth0", MTU: 1500,
			}},
		})
	}
	n.Underlay = n.Intent.Peers[0].Underlay
	return n
}

func BenchmarkObjects(b *testing.B) {
	for _, peers := range []int{100, 1000} {
		n := fleet(peers)
		b.Run(fmt.Sprintf("peers=%d", peers), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Objects(n)
			}
		})
		b.Run(fmt.Sprintf("cached/peers=%d", peers), func(b *testing.B) {
			var c Cache
			for b.Loop() {
				c.Parts(n)
			}
		})
		b.Run(fmt.Sprintf("one-of/peers=%d", peers), func(b *testing.B) {
			b.ReportAllocs()
			var c Cache
			for i := 0; b.Loop(); i++ {
				n.Intent.Peers = slices.Clone(n.Intent.Peers)
				n.Intent.Peers[peers].VTEP[0] = byte(2 * i)
				c.Parts(n)
			}
		})
	}
}

func BenchmarkMerge(b *testing.B) {
	for _, peers := range []int{100, 1000} {
		objects, _ := Objects(fleet(peers))
		b.Run(fmt.Sprintf("peers=%d/objects=%d", peers, len(objects)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := datapath.Merge(objects); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestCache(t *testing.T) {
	var c Cache
	n := fleet(3)
	first, _ := c.Parts(n)
	n.Intent.Revision++
	if again, _ := c.Parts(n); &first[0] != &again[0] {
		t.Error("planned again although only the revision changed")
	}
	n.Intent.Peers = fleet(4).Intent.Peers
	more, _ := c.Parts(n)
	for i := range 3 {
		if &first[1+i][0] != &more[1+i][0] {
			t.Errorf("peer %d was planned again although another came", i)
		}
	}
	n.Underlay = slices.Clone(n.Underlay)
	n.Underlay[0].MTU = 1400
	if mtu, _ := c.Parts(n); slices.Equal(slices.Concat(more...), slices.Concat(mtu...)) {
		t.Error("kept the plan although the uplink changed")
	}
}

// TestCacheForgets: whatever was planned before, a cache gives what Objects does.
func TestCacheForgets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c Cache
		n := anyNode(t)
		for range 6 {
			parts, problems := c.Parts(n)
			want, wantProblems := Objects(n)
			if got := slices.Concat(parts...); !slices.Equal(got, want) {
				t.Fatalf("got %v, want %v", got, want)
			}
			if !slices.Equal(problems, wantProblems) {
				t.Fatalf("got %v, want %v", problems, wantProblems)
			}
			other := anyNode(t)
			n.Intent.Peers = slices.Clone(n.Intent.Peers)
			switch rapid.IntRange(0, 6).Draw(t, "change") {
			case 0:
				n = other
			case 3:
				n.Choices = other.Choices
			case 4:
				n.Slots = other.Slots
			case 1:
				n.Underlay = other.Underlay
			case 2:
				n.Intent.Peers = other.Intent.Peers
			default: // one peer
				if i := len(n.Intent.Peers) - 1; i >= 0 && len(other.Intent.Peers) > i {
					n.Intent.Peers[i] = other.Intent.Peers[i]
				}
			}
		}
	})
}

// TestFabricMAC: weft0 is never the VTEP, nor a group address, and has no address
// of its own before the VTEP has one.
func TestFabricMAC(t *testing.T) {
	for _, c := range []struct{ vtep, want string }{
		{"02:57:00:00:00:01", "06:57:00:00:00:01"},
		{"fe:ff:ff:ff:ff:ff", "fa:ff:ff:ff:ff:ff"},
		{"00:00:00:00:00:00", "00:00:00:00:00:00"},
	} {
		vtep, err := intent.ParseMAC(c.vtep)
		if got := fabricMAC(vtep); err != nil || got.String() != c.want {
			t.Errorf("%s: %v, %v; want %s", c.vtep, got, err, c.want)
		}
	}
}
