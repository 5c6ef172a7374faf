package admin

import (
	stdcmp "cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// meshFabric is a fabric whose pairs choose their way: n1 sends to n2 over s1 and to n3 by
// itself, n2 is of the release before, n3 is away.
func meshFabric(t *testing.T, backend string) (*fabricOf, weftv1.MeshClient) {
	t.Helper()
	f := newFabric(t)
	f.join("n1", "n2", "n3")
	spec := kind.ClusterConfigSpec{ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}, Backend: backend}
	f.object(kind.ClusterConfig, kind.DefaultName, nil, spec.WithDefaults())
	for i, name := range []string{"n1", "n2", "n3"} {
		f.object(kind.Report, name, nil, kind.ReportSpec{
			Addresses: []kind.ReportAddress{{Address: netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/24", i+1)), Device: "eth0", MTU: 1500}},
			Labels:    map[string]string{intent.SiteLabel: []string{"fra", "home", "fra"}[i]},
			Slots:     []kind.ReportSlot{{Key: intent.Key{byte(i + 1)}.String(), Port: 51820}},
			NAT4:      []intent.NAT{intent.NATNone, intent.NATHard, ""}[i], Capabilities: []string{intent.CapabilityMesh, intent.CapabilityGo},
		})
	}
	ask := func(_ context.Context, node, method string, request []byte) ([]byte, error) {
		switch node {
		case "n2":
			return nil, status.Error(codes.Unimplemented, "this agent does not answer")
		case "n3":
			return nil, status.Error(codes.FailedPrecondition, "node n3 is away")
		}
		if method == "RotateKeys" {
			return proto.Marshal(&weftv1.RotateKeysResponse{Slot: 1, PublicKey: "k", Pairs: 2})
		}
		var q weftv1.GetMeshRequest
		if err := proto.Unmarshal(request, &q); err != nil {
			return nil, err
		}
		out := &weftv1.GetMeshResponse{}
		for _, p := range []*weftv1.MeshPath{
			{Peer: "n2", Rung: "relayed", Via: "s1", Mtu: 1380, Rungs: []*weftv1.Rung{{Name: "punched", Result: "failed", Why: "symmetric"}}},
			{Peer: "n3", Rung: "wireguard", Endpoint: "198.51.100.3:51820", Down: true},
		} {
			if q.GetPeer() == "" || q.GetPeer() == p.GetPeer() {
				out.Paths = append(out.Paths, p)
			}
		}
		return proto.Marshal(out)
	}
	server := grpc.NewServer()
	New(Config{Store: f.store, Hub: f.hub, Leases: f.leases, Name: "s1", Ask: ask}).Register(server)
	l := bufconn.Listen(1 << 20)
	go func() { _ = server.Serve(l) }() // ends with Stop
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:mesh", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	f.ResourcesClient = weftv1.NewResourcesClient(conn)
	return f, weftv1.NewMeshClient(conn)
}

// TestMatrixAsksBothEnds: each direction is its sender's to tell; where that was not
// asked, what it said last counts, or else what the other end says.
func TestMatrixAsksBothEnds(t *testing.T) {
	f, mesh := meshFabric(t, "auto")
	const old = "n2 was not asked: the agent of node n2 is of a release before pairs chose their way; upgrade weft-agent there"
	f.json(kind.ObservedPath("n3"), kind.PathsObservation{Epoch: "e1", Usual: "wireguard", Others: []kind.RungPeers{{Rung: "relayed (s2)", Peers: []string{"n2"}}}})
	r, err := mesh.Matrix(t.Context(), &weftv1.MatrixRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range r.GetPairs() {
		for _, d := range []*weftv1.PairPath{p, p.GetBack()} {
			line := fmt.Sprint(d.GetFrom(), " ", d.GetTo(), " ", rungOf(d), " ", d.GetMtu(), " ", d.GetToAddress(), " ", d.GetWhy())
			if d.GetDown() {
				line += ", down"
			}
			if d.GetUnasked() != strings.Contains(line, "not asked") {
				t.Errorf("%s: unasked %v", line, d.GetUnasked())
			}
			got = append(got, line)
		}
		got = append(got, "counted: "+p.GetCounted())
	}
	want := []string{
		"n1 n2 relayed s1 1380 192.0.2.2 encryption: untrusted",
		"n2 n1 relayed s1 0 192.0.2.1 encryption: untrusted (" + old + ")",
		"counted: relayed (s1)",
		"n1 n3 wireguard  1450 198.51.100.3 nothing answers, down",
		"n3 n1 wireguard  0 192.0.2.1 as it said last; n3 was not asked: node n3 is away",
		"counted: down",
		"n2 n3 relayed s2 0 192.0.2.3 encryption: untrusted (" + old + ")",
		"n3 n2 relayed s2 0 192.0.2.2 as it said last; n3 was not asked: node n3 is away",
		"counted: relayed (s2)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func rungOf(p *weftv1.PairPath) string { return p.GetTransport() + " " + p.GetVia() }

// TestMatrixAndStatusAgree: both judge a pair by what its two ends say.
func TestMatrixAndStatusAgree(t *testing.T) {
	f, mesh := meshFabric(t, "auto")
	f.json(kind.ObservedPath("n1"), kind.PathsObservation{Epoch: "e1", Usual: "down", Others: []kind.RungPeers{{Rung: "relayed (s1)", Peers: []string{"n2"}}}})
	for _, of := range []struct{ n2, n3, want string }{
		{"wireguard", "wireguard", "1 wireguard, 1 relayed (s1), 1 down"},
		{"none", "wireguard", "1 down, 2 none"},
		{"", "none", "1 relayed (s1), 2 none"},
		{"", "", "1 relayed (s1), 1 down, 1 not told yet"},
	} {
		f.json(kind.ObservedPath("n2"), kind.PathsObservation{Epoch: "e1", Usual: of.n2})
		f.json(kind.ObservedPath("n3"), kind.PathsObservation{Epoch: "e1", Usual: of.n3})
		if got := counts(t, f); got != of.want {
			t.Errorf("n2 says %q, n3 %q: status counts %s, want %s", of.n2, of.n3, got, of.want)
		}
		r, err := mesh.Matrix(t.Context(), &weftv1.MatrixRequest{})
		if err != nil {
			t.Fatal(err)
		}
		n := map[string]int{}
		for _, p := range r.GetPairs() {
			n[p.GetCounted()]++
		}
		if got := listed(n); got != of.want {
			t.Errorf("n2 says %q, n3 %q: the matrix has %s, want %s", of.n2, of.n3, got, of.want)
		}
	}
}

// counts are what status says of pairs.
func counts(t *testing.T, f *fabricOf) string {
	t.Helper()
	r, err := weftv1.NewStatusClient(f.conn).Get(t.Context(), &weftv1.StatusGetRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range r.GetPaths() {
		out = append(out, fmt.Sprint(p.GetPairs(), " ", p.GetTransport()))
	}
	return strings.Join(out, ", ")
}

func listed(n map[string]int) string {
	rungs := slices.SortedFunc(maps.Keys(n), func(a, b string) int { return stdcmp.Or(height(a)-height(b), strings.Compare(a, b)) })
	var out []string
	for _, rung := range rungs {
		if n[rung] > 0 {
			out = append(out, fmt.Sprint(n[rung], " ", rung))
		}
	}
	return strings.Join(out, ", ")
}

// TestPlanSaysHowNodesSend: of nodes that answer, and only where something changes.
func TestPlanSaysHowNodesSend(t *testing.T) {
	auto, _ := meshFabric(t, "auto")
	vxlan, _ := meshFabric(t, "vxlan")
	for _, c := range []struct {
		what string
		f    *fabricOf
		spec string
		want string
	}{
		{"a change", auto, "{encryption: always}", "n1: n2 relayed 0, n3 wireguard 0; n2: ; n3: "},
		{"no change", auto, "{encryption: untrusted}", "n1: ; n2: ; n3: "},
		{"pairs that chose nothing", vxlan, "{backend: auto}", "n1: ; n2: ; n3: "},
	} {
		r, err := c.f.Plan(t.Context(), &weftv1.PlanRequest{Apply: items(t, "{kind: cc, metadata: {name: default}, spec: "+c.spec+"}")})
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		var nodes []string
		for _, n := range r.GetNodes() {
			var sends []string
			for _, s := range n.GetSends() {
				sends = append(sends, fmt.Sprint(s.GetPeer(), " ", s.GetRung(), " ", s.GetMtu()))
			}
			nodes = append(nodes, n.GetNode()+": "+strings.Join(sends, ", "))
		}
		if got := strings.Join(nodes, "; "); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}

func TestExplainAsksBothEnds(t *testing.T) {
	_, mesh := meshFabric(t, "auto")
	for _, c := range []struct{ from, to, want string }{
		{"n1", "n2", "relayed | n1 fra none: relayed; n2 home hard: the agent of node n2 is of a release before | punched failed"},
		{"n2", "n3", "not told yet | n2 home hard: the agent of node n2 is of a release before"},
		{"n2", "n3", "n3 fra : node n3 is away | direct refused, vxlan refused, wireguard not known"},
		{"n1", "n3", "wireguard | n1 fra none: wireguard; n3 fra : node n3 is away"},
	} {
		r, err := mesh.ExplainPath(t.Context(), &weftv1.ExplainPathRequest{From: c.from, To: c.to})
		if err != nil {
			t.Fatal(err)
		}
		var ends, rungs []string
		for _, e := range r.GetEnds() {
			ends = append(ends, fmt.Sprintf("%s %s %s: %s%s", e.GetNode(), e.GetSite(), e.GetNat4(), e.GetPath().GetRung(), e.GetError()))
		}
		for _, rung := range r.GetRungs() {
			rungs = append(rungs, rung.GetName()+" "+rung.GetResult())
		}
		got := r.GetPath().GetTransport() + " | " + strings.Join(ends, "; ") + " | " + strings.Join(rungs, ", ")
		if !strings.Contains(strings.ReplaceAll(got, " pairs chose their way; upgrade weft-agent there", ""), c.want) {
			t.Errorf("%s %s: %s\nwant %s", c.from, c.to, got, c.want)
		}
	}
	if _, err := mesh.ExplainPath(t.Context(), &weftv1.ExplainPathRequest{From: "n1", To: "n9"}); status.Code(err) != codes.NotFound {
		t.Error(err)
	}
}

func TestRotateKeys(t *testing.T) {
	_, mesh := meshFabric(t, "wireguard")
	for _, c := range []struct{ nodes, want string }{
		{"n1", "n1 slot 1, 2 pairs"},
		{"n3 n1", "n3 node n3 is away, n1 slot 1, 2 pairs"},
		{"", "n1 slot 1, 2 pairs, n2 the agent of node n2 is of a release before pairs chose their way; upgrade weft-agent there, n3 node n3 is away"},
		{"n1 n1", "n1 slot 1, 2 pairs"},
		{"n1 n9", "InvalidArgument | nodes[1]: there is no node n9: it has not joined, or has no lease yet"},
	} {
		r, err := mesh.RotateKeys(t.Context(), &weftv1.MeshRotateKeysRequest{Nodes: strings.Fields(c.nodes)})
		var out []string
		for _, k := range r.GetRotations() {
			text := k.GetNode() + " " + k.GetError()
			if b := k.GetBegun(); b != nil {
				text = fmt.Sprintf("%s slot %d, %d pairs", k.GetNode(), b.GetSlot(), b.GetPairs())
			}
			out = append(out, text)
		}
		if err != nil {
			out = []string{said(err)}
		}
		if got := strings.Join(out, ", "); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.nodes, got, c.want)
		}
	}
	_, plain := meshFabric(t, "vxlan")
	_, err := plain.RotateKeys(t.Context(), &weftv1.MeshRotateKeysRequest{})
	if want := "FailedPrecondition | no node has a WireGuard key: ClusterConfig/default spec.backend is vxlan"; said(err) != want {
		t.Errorf("%s, want %s", said(err), want)
	}
}

// TestCountRungs: a pair stands as the worse of its two ends says, and whatever nodes
// say, there are as many pairs as there are.
func TestCountRungs(t *testing.T) {
	var peers []intent.Peer
	for i := range 4 {
		peers = append(peers, intent.Peer{Name: fmt.Sprint("n", i)})
	}
	for _, c := range []struct{ name, said, want string }{
		{"nobody said anything", "", "6 not told yet"},
		{"all on one rung", "n0 direct, n1 direct, n2 direct, n3 direct", "6 direct"},
		{"one end has said nothing", "n0 direct, n1 vxlan", "2 direct, 3 vxlan, 1 not told yet"},
		{"the later-named end is worse", "n0 wireguard, n1 wireguard, n2 wireguard, n3 wireguard down:n0", "5 wireguard, 1 down"},
		{"the lower-named end is worse", "n0 wireguard none:n3, n1 wireguard, n2 wireguard, n3 wireguard down:n0", "5 wireguard, 1 none"},
		{"over two servers", "n0 relayed(s1), n1 relayed(s2), n2 wireguard, n3 wireguard", "1 wireguard, 3 relayed(s1), 2 relayed(s2)"},
		{"of nodes that are gone", "n0 wireguard down:n9, n1 wireguard none:n8:n7, n2 wireguard, n3 wireguard down:n3", "6 wireguard"},
	} {
		said := map[string]kind.PathsObservation{}
		for _, of := range strings.Split(c.said, ", ") {
			if words := strings.Fields(of); len(words) > 0 {
				o := kind.PathsObservation{Usual: words[1]}
				for _, w := range words[2:] {
					names := strings.Split(w, ":")
					o.Others = append(o.Others, kind.RungPeers{Rung: names[0], Peers: names[1:]})
				}
				said[words[0]] = o
			}
		}
		if got := listed(countRungs(peers, said)); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
	}
	peers[1].NoMesh = true
	said := map[string]kind.PathsObservation{"n0": {Usual: "none"}, "n1": {Usual: "wireguard"}}
	if got, want := listed(countRungs(peers, said)), "3 none, 3 not told yet"; got != want {
		t.Errorf("a node went back to a release without the mesh: %s, want %s", got, want)
	}
}

// TestCountRungsOfAny: what is counted without a look at each pair is what that counts.
func TestCountRungsOfAny(t *testing.T) {
	rungs := rapid.SampledFrom([]string{"", "direct", "wireguard", "relayed (s1)", "relayed (s2)", down, noRung})
	rapid.Check(t, func(t *rapid.T) {
		peers := make([]intent.Peer, rapid.IntRange(0, 8).Draw(t, "nodes"))
		said := map[string]kind.PathsObservation{}
		for i := range peers {
			peers[i] = intent.Peer{Name: fmt.Sprint("n", i), NoMesh: rapid.IntRange(0, 9).Draw(t, "old") == 0}
			o := kind.PathsObservation{Usual: rungs.Draw(t, "usual")}
			for k := range 9 { // one that there is not, too
				if rapid.IntRange(0, 3).Draw(t, "other") == 0 {
					o.Others = append(o.Others, kind.RungPeers{Rung: rungs.Draw(t, "rung"), Peers: []string{fmt.Sprint("n", k)}})
				}
			}
			said[peers[i].Name] = o
		}
		want := map[string]int{}
		for i, a := range peers {
			for _, b := range peers[i+1:] {
				want[judge(sendsOf(a, said[a.Name]).to(b.Name), sendsOf(b, said[b.Name]).to(a.Name))]++
			}
		}
		if diff := cmp.Diff(listed(want), listed(countRungs(peers, said))); diff != "" {
			t.Fatalf("%+v: %s", said, diff)
		}
	})
}

func BenchmarkCountRungs(b *testing.B) {
	peers, said := make([]intent.Peer, 10_000), map[string]kind.PathsObservation{}
	for i := range peers {
		peers[i].Name = fmt.Sprintf("n%05d", i)
		said[peers[i].Name] = kind.PathsObservation{Usual: "wireguard", Others: []kind.RungPeers{{Rung: down, Peers: []string{"n00007", "n00008"}}}}
	}
	for b.Loop() {
		countRungs(peers, said)
	}
}

// TestStatusCountsAMesh: the best rung first, and no pair twice.
func TestStatusCountsAMesh(t *testing.T) {
	f, _ := meshFabric(t, "auto")
	f.json(kind.ObservedPath("n1"), kind.PathsObservation{Epoch: "e1", Usual: "wireguard", Others: []kind.RungPeers{{Rung: "relayed (s1)", Peers: []string{"n2"}}}})
	if got, want := counts(t, f), "1 wireguard, 1 relayed (s1), 1 not told yet"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	list, err := weftv1.NewNodesClient(f.conn).List(t.Context(), &weftv1.NodesListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if n := list.GetNodes()[1]; n.GetSite() != "home" || n.GetNat() != "symmetric" || n.GetWireguard() != "go" {
		t.Errorf("%v", n)
	}
}
