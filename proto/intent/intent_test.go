package intent

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

func prefixList(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// node reads "name addr/len mtu, addr/len mtu".
func node(text string) Peer {
	name, rest, _ := strings.Cut(text, " ")
	p := Peer{Name: name}
	for _, u := range strings.Split(rest, ", ") {
		addr, mtu, _ := strings.Cut(u, " ")
		size, err := strconv.Atoi(mtu)
		if err != nil {
			panic(err)
		}
		p.Underlay = append(p.Underlay, Underlay{Addr: netip.MustParsePrefix(addr), Device: "eth0", MTU: size})
	}
	return p
}

var equal = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

func TestPath(t *testing.T) {
	for _, c := range []struct {
		cluster Cluster
		a, b    string
		want    string // transport local remote mtu
	}{
		{Cluster{Backend: VXLAN}, "a 10.0.0.1/24 1500", "b 10.0.0.2/24 1500", "vxlan 10.0.0.1 10.0.0.2 1450"},
		{Cluster{Backend: VXLAN}, "a fd00::1/64 1500", "b fd00::2/64 1500", "vxlan fd00::1 fd00::2 1430"},
		{Cluster{Backend: VXLAN}, "a 10.0.0.1/24 9000", "b 10.0.0.2/24 1500", "vxlan 10.0.0.1 10.0.0.2 1450"},
		{Cluster{Backend: VXLAN, DirectRouting: true}, "a 10.0.0.1/24 1500", "b 10.0.0.2/24 1500", "direct 10.0.0.1 10.0.0.2 1500"},
		{Cluster{Backend: VXLAN, DirectRouting: true}, "a 10.0.0.1/24 1500", "b 10.0.1.2/24 1500", "vxlan 10.0.0.1 10.0.1.2 1450"},
		{Cluster{Backend: VXLAN, DirectRouting: true}, "a 10.0.0.1/32 1500", "b 10.0.0.1/32 1500", "vxlan 10.0.0.1 10.0.0.1 1450"},
		{Cluster{Backend: HostGW}, "a 10.0.0.1/24 1500", "b 10.0.0.2/24 1500", "direct 10.0.0.1 10.0.0.2 1500"},
		{Cluster{Backend: HostGW}, "a 10.0.0.1/24 1500", "b 10.0.1.2/24 1500", "none 10.0.0.1 10.0.1.2 0"},
		{Cluster{Backend: Tailnet}, "a 100.64.0.1/32 1280", "b 100.127.0.2/32 1280", "tailnet 100.64.0.1 100.127.0.2 1280"},
		{Cluster{Backend: Tailnet, MTU: 1200}, "a fd7a:115c:a1e0::1/128 1280", "b 100.64.0.2/32 1400", "tailnet fd7a:115c:a1e0::1 100.64.0.2 1200"},
		{Cluster{Backend: Tailnet}, "a 100.64.0.1/32 1280", "b 10.0.0.2/24 1500", "none - - 0"},
		{Cluster{Backend: Tailnet}, "a 100.64.0.1/32 1280", "b 100.128.0.2/24 1500", "none - - 0"},
		{Cluster{Backend: Tailnet, Receive: []Carrier{{Backend: VXLAN}}}, "a 100.64.0.1/32 1280", "b 100.64.0.2/32 1280", "vxlan 100.64.0.1 100.64.0.2 1230"},
		{Cluster{Backend: VXLAN, Receive: []Carrier{{Backend: Tailnet}}}, "a 100.64.0.1/32 1280", "b 100.64.0.2/32 1280", "vxlan 100.64.0.1 100.64.0.2 1230"},
		{Cluster{Backend: None}, "a 10.0.0.1/24 1500", "b 10.0.0.2/24 1500", "none - - 0"},
		{Cluster{Backend: VXLAN}, "a 10.0.0.1/24 1500", "b fd00::2/64 1500", "none - - 0"},
		// The lower name's list decides the family, from both ends.
		{Cluster{Backend: VXLAN}, "a fd00::1/64 1500, 10.0.0.1/24 1500", "b 10.0.0.2/24 1500, fd00::2/64 1500", "vxlan fd00::1 fd00::2 1430"},
		{Cluster{Backend: VXLAN}, "b fd00::1/64 1500, 10.0.0.1/24 1500", "a 10.0.0.2/24 1500, fd00::2/64 1500", "vxlan 10.0.0.1 10.0.0.2 1450"},
		{Cluster{Backend: VXLAN, MTU: 1300}, "a 10.0.0.1/24 1500", "b 10.0.0.2/24 1500", "vxlan 10.0.0.1 10.0.0.2 1300"},
	} {
		a, b := node(c.a), node(c.b)
		got, back := c.cluster.Path(a, b), c.cluster.Path(b, a)
		if diff := cmp.Diff(c.want, text(got)); diff != "" {
			t.Errorf("%s -> %s:\n%s", c.a, c.b, diff)
		}
		if got.Transport != back.Transport || got.MTU != back.MTU || got.Local != back.Remote || got.Remote != back.Local {
			t.Errorf("%s and %s do not agree: %v, %v", c.a, c.b, got, back)
		}
		if got.Why == "" {
			t.Errorf("%s -> %s: no reason is given", c.a, c.b)
		}
	}
}

func text(p Path) string {
	end := func(u Underlay) string {
		if !u.Addr.IsValid() {
			return "-"
		}
		return u.Addr.Addr().String()
	}
	return strings.Join([]string{string(p.Transport), end(p.Local), end(p.Remote), strconv.Itoa(p.MTU)}, " ")
}

func TestFabricIsTheFirstLeaseOfEachFamily(t *testing.T) {
	p := Peer{Lease: prefixList("10.42.1.0/24", "fd42::/64", "10.42.9.0/24")}
	want := []netip.Addr{netip.MustParseAddr("10.42.1.0"), netip.MustParseAddr("fd42::")}
	if diff := cmp.Diff(want, p.Fabric(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestWireRoundTrip(t *testing.T) {
	cluster := Cluster{
		CIDRs: prefixList("10.42.0.0/16", "fd42:42::/48"), ServiceCIDRs: prefixList("10.43.0.0/16"), Backend: VXLAN,
		DirectRouting: true, VNI: 4096, VXLANPort: 8472, MTU: 1400,
		Masquerade: prefixList("10.42.0.0/16"), NonMasquerade: prefixList("192.0.2.0/24"),
	}
	gotCluster, err := DecodeCluster(EncodeCluster(cluster))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(cluster, gotCluster, equal); diff != "" {
		t.Error(diff)
	}
	peer := node("n1 10.0.0.1/24 1500, fd00::1/64 9000")
	peer.Lease, peer.VTEP, peer.Labels = prefixList("10.42.1.0/24", "fd42:42:0:1::/64"), MAC{2, 0x57, 0, 0, 0, 1}, map[string]string{"site": "fra"}
	gotPeer, err := DecodePeer(EncodePeer(peer))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(peer, gotPeer, equal); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeReportsWhatItLeavesOut(t *testing.T) {
	good := Object{Collection: CollectionPeers, Key: PeerKey("n1"), Value: EncodePeer(Peer{Name: "n1", Lease: prefixList("10.42.1.0/24")})}
	wire := func(m proto.Message) []byte { return marshal(m) }
	for _, c := range []struct {
		name string
		bad  Object
		want string
	}{
		{"another collection", Object{Collection: "dreams", Key: "x"}, "does not know the collection"},
		{"not protobuf", Object{Collection: CollectionPeers, Key: PeerKey("n2"), Value: []byte{0xff}}, "not a PeerIntent"},
		{"too large", Object{Collection: CollectionPeers, Key: PeerKey("n2"), Value: make([]byte, MaxObject+1)}, "at most"},
		{"another name", Object{Collection: CollectionPeers, Key: PeerKey("n2"), Value: EncodePeer(Peer{Name: "n3"})}, `names node "n3"`},
		{"twice", good, "is there twice"},
		{"host bits", Object{Collection: CollectionPeers, Key: PeerKey("n2"), Value: wire(&weftv1.PeerIntent{Name: "n2", Lease: []string{"10.42.1.1/24"}})}, "10.42.1.0/24 has not"},
		{"mapped", Object{Collection: CollectionPeers, Key: PeerKey("n2"), Value: wire(&weftv1.PeerIntent{Name: "n2", Lease: []string{"::ffff:10.0.0.0/104"}})}, "mapped into IPv6"},
		{"backend", Object{Collection: CollectionCluster, Key: KeyCluster, Value: wire(&weftv1.ClusterIntent{Backend: "pigeon"})}, `backend "pigeon"`},
		{"vni", Object{Collection: CollectionCluster, Key: KeyCluster, Value: wire(&weftv1.ClusterIntent{Backend: "vxlan", Vni: 1 << 24})}, "vni 16777216"},
		{"port", Object{Collection: CollectionCluster, Key: KeyCluster, Value: wire(&weftv1.ClusterIntent{Backend: "vxlan", VxlanPort: 1 << 16})}, "vxlan_port"},
		{"mac", Object{Collection: CollectionPeers, Key: PeerKey("n2"), Value: wire(&weftv1.PeerIntent{Name: "n2", VtepMac: "02:57"})}, "MAC address"},
	} {
		n, bad := Decode("n1", "epoch", CompileVersion, 7, []Object{good, c.bad})
		if len(bad) != 1 || !strings.Contains(bad[0].Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, bad, c.want)
		}
		if _, ok := n.Self(); !ok {
			t.Errorf("%s: the good object is gone too", c.name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(CollectionPeers, PeerKey("n1"), EncodePeer(Peer{Name: "n1", Lease: prefixList("10.42.1.0/24")}))
	f.Add(CollectionCluster, KeyCluster, EncodeCluster(Cluster{Backend: VXLAN, CIDRs: prefixList("10.42.0.0/16")}))
	f.Add("dreams", "x", []byte{1})
	f.Fuzz(func(t *testing.T, collection, key string, value []byte) {
		n, bad := Decode("n1", "e", CompileVersion, 1, []Object{{Collection: collection, Key: key, Value: value}})
		if len(bad) > 0 {
			return
		}
		// What was understood says the same again.
		for _, p := range n.Peers {
			again, err := DecodePeer(EncodePeer(p))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(p, again, equal); diff != "" {
				t.Fatal(diff)
			}
		}
		if collection == CollectionCluster {
			again, err := DecodeCluster(EncodeCluster(n.Cluster))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(n.Cluster, again, equal); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}
