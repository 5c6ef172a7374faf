package admin

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
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

func TestMatrixAsksTheLowerNamed(t *testing.T) {
	_, mesh := meshFabric(t, "auto")
	r, err := mesh.Matrix(t.Context(), &weftv1.MatrixRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"n1 n2 relayed s1 1380 192.0.2.2 encryption: untrusted",
		"n1 n3 wireguard  1450 198.51.100.3 nothing answers",
		"n2 n3 wireguard  1440 192.0.2.3 encryption: untrusted (as it begins: n2 was not asked: the agent of node n2 is of a release before pairs chose their way; upgrade weft-agent there)",
	}
	for i, p := range r.GetPairs() {
		got := fmt.Sprint(p.GetFrom(), " ", p.GetTo(), " ", p.GetTransport(), " ", p.GetVia(), " ", p.GetMtu(), " ", p.GetToAddress(), " ", p.GetWhy())
		if i >= len(want) || got != want[i] {
			t.Errorf("got  %s\nwant %s", got, want[min(i, len(want)-1)])
		}
		if dead := p.GetWhy() == "nothing answers"; p.GetDown() != dead {
			t.Errorf("%s: down %v", got, p.GetDown())
		}
	}
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
		{"n2", "n3", "wireguard | n2 home hard: the agent of node n2 is of a release before"},
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

// TestCountRungs: whatever nodes say, there are as many pairs as there are.
func TestCountRungs(t *testing.T) {
	var peers []intent.Peer
	for i := range 4 {
		peers = append(peers, intent.Peer{Name: fmt.Sprint("n", i)})
	}
	type m = map[string]uint32
	for _, c := range []struct {
		name string
		said map[string]m
		want string
	}{
		{"nobody said anything", nil, "map[not told yet:6]"},
		{"all did", map[string]m{"n0": {"direct": 1, "relayed (s1)": 2}, "n1": {"vxlan": 2}, "n2": {"punched": 1}}, "map[direct:1 not told yet:0 punched:1 relayed (s1):2 vxlan:2]"},
		{"some did", map[string]m{"n1": {"vxlan": 2}}, "map[not told yet:4 vxlan:2]"},
		{"one says more than it has: the best count", map[string]m{"n0": {"relayed": 9, "direct": 2}, "n2": {"direct": 7}}, "map[direct:3 not told yet:2 relayed:1]"},
		{"the last has none", map[string]m{"n3": {"direct": 5}}, "map[direct:0 not told yet:6]"},
	} {
		said := map[string]kind.PathsObservation{}
		for name, pairs := range c.said {
			said[name] = kind.PathsObservation{Pairs: pairs}
		}
		if got := fmt.Sprint(countRungs(peers, said)); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
	}
}

// TestStatusCountsAMesh: the best rung first, and no pair twice.
func TestStatusCountsAMesh(t *testing.T) {
	f, _ := meshFabric(t, "auto")
	f.json(kind.ObservedPath("n1"), kind.PathsObservation{Epoch: "e1", Pairs: map[string]uint32{"relayed (s1)": 1, "wireguard": 1}})
	r, err := weftv1.NewStatusClient(f.conn).Get(t.Context(), &weftv1.StatusGetRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range r.GetPaths() {
		got = append(got, fmt.Sprint(p.GetPairs(), " ", p.GetTransport()))
	}
	if want := "1 wireguard, 1 relayed (s1), 1 not told yet"; strings.Join(got, ", ") != want {
		t.Errorf("%s, want %s", strings.Join(got, ", "), want)
	}
	list, err := weftv1.NewNodesClient(f.conn).List(t.Context(), &weftv1.NodesListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if n := list.GetNodes()[1]; n.GetSite() != "home" || n.GetNat() != "symmetric" || n.GetWireguard() != "go" {
		t.Errorf("%v", n)
	}
}
