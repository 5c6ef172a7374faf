package admin

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/push"
	"pgregory.net/rapid"
)

func TestStatus(t *testing.T) {
	f := newFabric(t)
	f.join("n1", "n2", "n3")
	f.json(kind.ObservedNode("n2"), kind.NodeObservation{
		HeardUnix: now.Unix(), Epoch: "e1", AppliedRevision: 9, Revision: 9,
		Problems:     []kind.Problem{{Subject: "eth0", Cause: "table ip filter, chain FORWARD drops", Remedy: "iptables …", SinceUnix: now.Unix() - 60}, {Subject: "ClusterConfig/default", Cause: "not understood: backend", Remedy: "upgrade"}},
		ObjectErrors: []kind.ObjectError{{Collection: "cluster", Key: "ClusterConfig/default", Error: "backend", Remedy: "upgrade"}, {Collection: "peers", Key: "Node//n9", Error: "no route", Remedy: "look"}},
	})
	f.json(kind.ObservedNode("n3"), kind.NodeObservation{HeardUnix: now.Unix() - 130, Epoch: "e1", AppliedRevision: 9, Revision: 9, Gone: true})
	f.hub.live["n3"] = push.Status{Node: "n3"} // it came again, and was sent away
	f.object(kind.Node, "n4", nil, kind.NodeSpec{})
	f.put(kind.Key(kind.Lease, "", "n8"), []byte(`{"schema": 99}`))
	got, err := weftv1.NewStatusClient(f.conn).Get(t.Context(), &weftv1.StatusGetRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetFabric() != "prod" || got.GetEpoch() != "e1" || got.GetNodes() != 4 || got.GetNodesInStep() != 2 || got.GetEtcd().GetMode() != "embedded" || got.GetCaEndsUnix() == 0 {
		t.Error(got)
	}
	if p := fmt.Sprint(got.GetPaths()); !strings.Contains(p, `transport:"vxlan"`) || !strings.Contains(p, "pairs:3") {
		t.Error(p)
	}
	var lines []string
	for _, p := range got.GetProblems() {
		lines = append(lines, fmt.Sprintf("%s %s: %s -> %s", p.GetNode(), p.GetSubject(), p.GetCause(), p.GetRemedy()))
	}
	for i, want := range []string{
		" weft/v1/intent/Lease//n8: stored object cannot be used: ",
		"n2 eth0: table ip filter, chain FORWARD drops -> iptables …",
		"n2 ClusterConfig/default: not understood: backend -> upgrade",
		"n2 peers Node//n9: no route -> look",
		"n3 agent: 9 revisions behind, agent last heard 2m ago -> its data path goes on as it was; on n3: systemctl status weft-agent; if the node is gone: weft delete node n3",
		"n4 agent: its agent joined and never connected: it is stopped, or has found no address for the fabric yet -> ",
	} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			t.Errorf("problems are\n%s\nwant %s", strings.Join(lines, "\n"), want)
		}
	}
	again, err := weftv1.NewStatusClient(f.conn).ListProblems(t.Context(), &weftv1.ListProblemsRequest{})
	if err != nil || len(again.GetProblems()) != len(lines) {
		t.Error(again, err)
	}
}

// TestAwayAndDead: of a node that is away it is said that nothing answers there, if all
// its peers say so that are heard; one of which somebody has answers is not gone.
func TestAwayAndDead(t *testing.T) {
	f := newFabric(t)
	f.join("n1", "n2", "n3", "n4")
	for _, name := range []string{"n1", "n2", "n4"} {
		f.object(kind.Report, name, nil, kind.ReportSpec{Capabilities: []string{intent.CapabilityMesh}})
	}
	f.json(kind.ObservedNode("n3"), kind.NodeObservation{HeardUnix: now.Unix() - 130, Epoch: "e1", AppliedRevision: 9, Revision: 9, Gone: true})
	f.json(kind.ObservedPath("n3"), kind.PathsObservation{Usual: "wireguard"}) // said last, and no witness
	const look, leave = "; on n3: systemctl status weft-agent", "; if the node is gone: weft delete node n3"
	for _, c := range []struct{ said, want string }{
		{"", "its data path goes on as it was" + look + leave},
		{"n1 wireguard", "its data path goes on as it was" + look},
		{"n1 down", "nothing answers there, say n1" + look + leave},
		{"n1 down, n2 down, n4 none", "nothing answers there, say n1, n2, n4" + look + leave},
		{"n1 down, n2 relayed, n4 direct", "n2, n4 have answers from there, not so n1: weft mesh explain n1 n3" + look},
	} {
		for _, of := range []string{"n1", "n2", "n4"} {
			f.json(kind.ObservedPath(of), kind.PathsObservation{Epoch: "e1", Revision: 9})
		}
		for _, of := range strings.Split(c.said, ", ") {
			if name, rung, ok := strings.Cut(of, " "); ok {
				f.json(kind.ObservedPath(name), kind.PathsObservation{Epoch: "e1", Revision: 9, Usual: "vxlan", Others: []kind.RungPeers{{Rung: rung, Peers: []string{"n3"}}}})
			}
		}
		got, err := weftv1.NewStatusClient(f.conn).ListProblems(t.Context(), &weftv1.ListProblemsRequest{})
		if err != nil || len(got.GetProblems()) != 1 || got.GetProblems()[0].GetRemedy() != c.want {
			t.Errorf("%s: %v %v", c.said, got, err)
		}
	}
}

// TestWithoutLease: a node that is there and got no lease is degraded, and says so.
func TestWithoutLease(t *testing.T) {
	f := newFabric(t)
	f.object(kind.Node, "n1", nil, kind.NodeSpec{})
	f.hub.live["n1"] = push.Status{Connected: true, Heard: now, Applied: f.store.Revision()}
	got, err := weftv1.NewStatusClient(f.conn).Get(t.Context(), &weftv1.StatusGetRequest{})
	if err != nil || len(got.GetProblems()) != 1 || got.GetProblems()[0].GetSubject() != "lease" {
		t.Error(got, err)
	}
}

func TestProblemsOfTheFabric(t *testing.T) {
	f := newFabric(t)
	s := New(Config{Hub: f.hub, Identities: func() []*weftv1.Problem { return []*weftv1.Problem{{Subject: "CA"}} }, Now: func() time.Time { return now }})
	got := s.problems(glance{view: newView(), etcd: &weftv1.EtcdStatus{SizeBytes: 1800 << 20, QuotaBytes: 2 << 30}})
	if len(got) != 2 || got[0].GetSubject() != "etcd" || got[1].GetSubject() != "CA" {
		t.Error(got)
	}
}

// TestChangeThatHangs: pairs that do not come to a new way of sending are told of after a
// while, unless their node is away.
func TestChangeThatHangs(t *testing.T) {
	auto := intent.Carrier{Backend: intent.Auto, VNI: 4096, Port: 8472, Encryption: intent.EncryptUntrusted}
	vxlan := intent.Carrier{Backend: intent.VXLAN, VNI: 4096, Port: 8472}
	const hangs = "nodes are to send by vxlan 4096 on UDP 8472, and n1->n2, n1->n3 and 3 more go on by auto with vxlan 4096 on UDP 8472, encryption untrusted, which is received as well until they do not"
	for _, c := range []struct {
		name string
		age  time.Duration
		spec kind.CarriageSpec
		live bool
		want string
	}{
		{"at rest", time.Hour, kind.CarriageSpec{Send: vxlan}, true, ""},
		{"on its way", lasting - time.Second, kind.CarriageSpec{Send: vxlan, Receive: []intent.Carrier{auto}, Switched: true}, true, ""},
		{"hangs", lasting, kind.CarriageSpec{Send: vxlan, Receive: []intent.Carrier{auto}, Switched: true}, true, hangs},
		{"the node is away", lasting, kind.CarriageSpec{Send: vxlan, Receive: []intent.Carrier{auto}, Switched: true}, false, ""},
	} {
		f := newFabric(t)
		f.join("n1", "n2", "n3")
		f.json(kind.ObservedNodes+"n1", kind.NodeObservation{HeardUnix: now.Unix(), Gone: !c.live})
		s := New(Config{Store: f.store, Hub: f.hub, Now: func() time.Time { return now }, Since: now.Add(-time.Hour)})
		v, _, err := s.read(t.Context(), parts[kind.Node])
		if err != nil {
			t.Fatal(err)
		}
		c.spec.AtUnix = now.Add(-c.age).Unix()
		got := s.changeProblems(glance{view: v, carriage: c.spec, paths: map[string]kind.PathsObservation{"n1": {Old: 5, OldPeers: []string{"n3", "n2"}}}})
		text := ""
		if len(got) > 0 {
			text = got[0].GetCause()
		}
		if text != c.want {
			t.Errorf("%s: %q", c.name, text)
		}
	}
}

func TestWhoOwns(t *testing.T) {
	f := newFabric(t)
	f.join("n1", "n2")
	f.pod("n2", "a", "web", "10.42.1.5", "fd42:42:0:1::5")
	for in, want := range map[string]string{
		"10.42.1.5":        "n2 10.42.1.0/24 web",
		"fd42:42:0:1::5":   "n2 fd42:42:0:1::/64 web",
		"::ffff:10.42.1.5": "n2 10.42.1.0/24 web",
		"10.42.1.6":        "n2 10.42.1.0/24 ",
		"10.42.0.0":        "n1 10.42.0.0/24 ", // its fabric address
		"192.0.2.2":        "n2 192.0.2.0/24 ",
	} {
		got, err := weftv1.NewLeasesClient(f.conn).WhoOwns(t.Context(), &weftv1.WhoOwnsRequest{Address: in})
		if text := fmt.Sprintf("%s %s %s", got.GetNode(), got.GetPrefix(), got.GetEndpoint().GetPod()); err != nil || text != want {
			t.Errorf("%s: %s %v, want %s", in, text, err, want)
		}
	}
}

func TestLeases(t *testing.T) {
	f := newFabric(t)
	f.join("n1")
	c := weftv1.NewLeasesClient(f.conn)
	if _, err := c.Reserve(t.Context(), &weftv1.ReserveRequest{Node: "n9", Prefixes: []string{"10.42.9.0/24"}}); err != nil {
		t.Fatal(err)
	}
	got, err := c.List(t.Context(), &weftv1.LeasesListRequest{})
	if err != nil || len(got.GetLeases()) != 2 || fmt.Sprint(got.GetLeases()[1].GetPrefixes()) != "[10.42.9.0/24]" {
		t.Error(got, err)
	}
}

func TestMatrix(t *testing.T) {
	f := newFabric(t)
	f.join("n1", "n2", "n3")
	got, err := weftv1.NewMeshClient(f.conn).Matrix(t.Context(), &weftv1.MatrixRequest{})
	if err != nil || len(got.GetPairs()) != 3 {
		t.Fatal(got, err)
	}
	p := got.GetPairs()[0]
	if text := fmt.Sprintf("%s %s %s %d %s %s", p.GetFrom(), p.GetTo(), p.GetTransport(), p.GetMtu(), p.GetFromAddress(), p.GetToAddress()); text != "n1 n2 vxlan 1450 192.0.2.1 192.0.2.2" {
		t.Error(text)
	}
}

func TestGetIntent(t *testing.T) {
	f := newFabric(t)
	f.join("n1")
	got, err := weftv1.NewNodesClient(f.conn).GetIntent(t.Context(), &weftv1.NodesGetIntentRequest{Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprintf("node n1 epoch e1 revision %d", got.GetIntent().GetRevision()),
		"cluster 10.42.0.0/16,fd42:42::/48 services none backend vxlan mtu of each path",
		"vxlan id 4096 dstport 8472 directRouting false",
		"masquerade 10.42.0.0/16,fd42:42::/48",
		"peer n1 lease 10.42.0.0/24,fd42:42::/64 at 192.0.2.1/24 dev eth0 mtu 1500 vtep 02:57:00:00:00:01",
	}
	if diff := cmp.Diff(want, got.GetText()); diff != "" {
		t.Error(diff)
	}
}

func TestTokens(t *testing.T) {
	f := newFabric(t)
	c := weftv1.NewTokensClient(f.conn)
	made, err := c.Create(t.Context(), &weftv1.TokensCreateRequest{Nodes: []string{"n3"}, Replace: true, TtlSeconds: -1})
	if err != nil || made.GetToken() == "" {
		t.Fatal(made, err)
	}
	if _, err := c.Revoke(t.Context(), &weftv1.TokensRevokeRequest{Id: made.GetStatus().GetId()}); err != nil {
		t.Error(err)
	}
	if _, err := c.Revoke(t.Context(), &weftv1.TokensRevokeRequest{Id: "nope"}); said(err) != `NotFound | there is no token "nope"; weft token list shows what there is` {
		t.Error(said(err))
	}
	list, err := c.List(t.Context(), &weftv1.TokensListRequest{})
	if err != nil || len(list.GetTokens()) != 0 {
		t.Error(list, err)
	}
}

// TestCountPaths: what is counted in one pass is what looking at each pair counts.
func TestCountPaths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := intent.Cluster{
			Backend:       rapid.SampledFrom([]intent.Backend{intent.VXLAN, intent.HostGW, intent.None}).Draw(t, "backend"),
			DirectRouting: rapid.Bool().Draw(t, "direct"),
		}
		links := []string{"192.0.2.%d/24", "198.51.100.%d/25", "203.0.113.%d/32", "2001:db8::%d/64", "2001:db8:1::%d/64", "2001:db8:2::%d/128"}
		var peers []intent.Peer
		for i := range rapid.IntRange(0, 12).Draw(t, "peers") {
			p := intent.Peer{Name: fmt.Sprintf("n%02d", i)}
			for range rapid.IntRange(0, 3).Draw(t, "addresses") {
				link := rapid.SampledFrom(links).Draw(t, "link")
				p.Underlay = append(p.Underlay, intent.Underlay{Addr: netip.MustParsePrefix(fmt.Sprintf(link, i+1)), MTU: 1500})
			}
			peers = append(peers, p)
		}
		want := map[intent.Transport]int{}
		for i, a := range peers {
			for _, b := range peers[i+1:] {
				want[c.Path(a, b).Transport]++
			}
		}
		if diff := cmp.Diff(want, countPaths(c, peers)); diff != "" {
			t.Fatalf("%v: %s", peers, diff)
		}
	})
}

func BenchmarkCountPaths(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	var peers []intent.Peer
	for i := range 10_000 {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(r.IntN(200) + 1)})
		peers = append(peers, intent.Peer{Name: fmt.Sprintf("n%05d", i), Underlay: []intent.Underlay{{Addr: netip.PrefixFrom(a, 24), MTU: 1500}}})
	}
	slices.SortFunc(peers, func(a, b intent.Peer) int { return strings.Compare(a.Name, b.Name) })
	for b.Loop() {
		countPaths(intent.Cluster{Backend: intent.VXLAN, DirectRouting: true}, peers)
	}
}
