package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/push"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

const config = `
apiVersion: weft/v1
kind: ClusterConfig
metadata: {name: default}
spec: `

func TestApply(t *testing.T) {
	for _, c := range []struct{ name, in, want, then string }{
		{"OK merges", config + "{backend: none}", "ClusterConfig/default configured", `"backend":"none","clusterCIDRs":["10.42.0.0/16","fd42:42::/48"]`},
		{"bad cuts a family", config + "{backend: host-gw}", "InvalidArgument | ClusterConfig/default spec.backend: host-gw reaches a prefix by addresses of its own family on one link: n1 and n2 have no IPv6 addresses on 192.0.2.0/24", `"backend":"vxlan"`},
		{"OK nothing new", config + "{vni: 4096}", "ClusterConfig/default unchanged", `"vni":4096`},
		{"OK null is the default again", config + "{backend: null}", "ClusterConfig/default unchanged", `"backend":"vxlan"`},
		{"OK wider", config + "{clusterCIDRs: [10.42.0.0/15, 'fd42:42::/48']}", "ClusterConfig/default configured", `"10.42.0.0/15"`},
		{"OK by short name", "{kind: cc, metadata: {name: default}, spec: {mtu: 1400}}", "ClusterConfig/default configured", `"mtu":1400`},
		{"OK reservation", "{kind: Lease, metadata: {name: n9}, spec: {prefixes: [10.42.9.0/24]}}", "Lease/n9 created", ""},
		{"OK policy", "{kind: EgressPolicy, metadata: {name: web}, spec: {nodes: [n1], allow: [{cidr: 192.168.1.0/24, ports: [80, 8000-8100]}]}}", "EgressPolicy/web created", ""},
		{"bad policy of a node that is not", "{kind: egp, metadata: {name: web}, spec: {nodes: [n1, n11], onlyListed: true}}", "InvalidArgument | EgressPolicy/web spec.nodes[1]: no node n11 has joined: weft get nodes lists", ""},
		{"OK label", "{kind: Node, metadata: {name: n1, labels: {site: fra}}}", "Node/n1 configured", ""},
		{
			"OK ranges first", "{kind: Lease, metadata: {name: n9}, spec: {prefixes: [10.50.9.0/24]}}\n---\n" + config + "{clusterCIDRs: [10.42.0.0/16, 'fd42:42::/48', 10.50.0.0/16]}",
			"ClusterConfig/default configured, Lease/n9 created", "10.50.0.0/16",
		},

		{"bad host bits", config + "{clusterCIDRs: [10.42.0.1/16]}", "InvalidArgument | ClusterConfig/default spec.clusterCIDRs[0]: 10.42.0.1/16 has host bits; did you mean 10.42.0.0/16", ""},
		{"bad field", config + "{backnd: vxlan}", "InvalidArgument | ClusterConfig/default spec.backnd: is not a field; did you mean backend", ""},
		{"bad type", config + "{mtu: big}", `InvalidArgument | ClusterConfig/default spec.mtu: "big" is not accepted; accepted: a whole number`, ""},
		{"bad overlap", config + "{serviceCIDRs: [10.42.3.0/24]}", "InvalidArgument | ClusterConfig/default spec.serviceCIDRs[0]: 10.42.3.0/24 overlaps spec.clusterCIDRs[0] 10.42.0.0/16", ""},
		{"bad holds a node", config + "{serviceCIDRs: [192.0.2.0/24]}", "InvalidArgument | ClusterConfig/default spec.serviceCIDRs[0]: 192.0.2.0/24 holds the address 192.0.2.1 of node n1; give another range", ""},
		{
			"bad leaves out", config + "{clusterCIDRs: [10.42.0.0/24, 'fd42:42::/48']}",
			"FailedPrecondition | ClusterConfig/default spec.clusterCIDRs[0]: 10.42.0.0/24 is too small: it leaves out 1 lease in use\n" +
				"  n2 10.42.1.0/24 (2 pods)\naccepted: any prefix that holds 10.42.0.0/23; or free them first: weft drain lease n2", "",
		},
		{"bad mtu", config + "{mtu: 9000}", "InvalidArgument | ClusterConfig/default spec.mtu: 9000 does not fit through eth0 of n1 (1500, 1450 are left), eth0 of n2 (1500, 1450 are left); accepted: up to 1450, or 0", ""},
		{"bad port", config + "{vxlanPort: 51820}", "InvalidArgument | ClusterConfig/default spec.vxlanPort: 51820 is WireGuard's; take another, such as 8472", ""},
		{"bad drain", "{kind: Lease, metadata: {name: n1}, spec: {draining: [10.42.9.0/24]}}", "InvalidArgument | Lease/n1 spec.draining[0]: 10.42.9.0/24 is none of the lease's prefixes", ""},
		{"OK drain", "{kind: Lease, metadata: {name: n1}, spec: {draining: [10.42.0.0/24]}}", "Lease/n1 configured", ""},
		{"bad kind", "{kind: Pod, metadata: {name: x}}", `InvalidArgument | Pod/x kind: there is no kind "Pod"`, ""},
		{"bad version", "{apiVersion: weft/v2, kind: Node, metadata: {name: n1}}", `InvalidArgument | Node/n1 apiVersion: "weft/v2" is not known`, ""},
		{"bad no name", "{kind: Node}", "InvalidArgument | Node metadata.name: is missing", ""},
		{"bad nothing", "{}", "InvalidArgument | items[0] kind: is missing", ""},
		{"bad read-only", "{kind: Endpoint, metadata: {name: x}}", "InvalidArgument | Endpoint/x kind: Endpoint is read-only", ""},
		{"bad unknown node", "{kind: Node, metadata: {name: n9}}", "InvalidArgument | Node/n9 metadata.name: no node of this name has joined", ""},
		{"bad twice", "{kind: Node, metadata: {name: n1}}\n---\n{kind: Node, metadata: {name: n1}}", "InvalidArgument | Node/n1: is there twice", ""},
		{"bad all are told", config + "{mtu: 1}\n---\n{kind: Node, metadata: {name: Big}}", "Node/Big metadata.name: \"Big\" has capitals", ""},
		{"bad stale", "{kind: Node, metadata: {name: n1, revision: 1}}", "Aborted | Node/n1 metadata.revision: is at ", ""},
		{"bad taken", "{kind: Lease, metadata: {name: n9}, spec: {prefixes: [10.42.1.0/24]}}", "InvalidArgument | Lease/n9 spec.prefixes[0]: 10.42.1.0/24 overlaps 10.42.1.0/24, the lease of node n2", ""},
		{"bad in use", "{kind: Lease, metadata: {name: n1}, spec: {prefixes: [10.42.9.0/24]}}", "FailedPrecondition | Lease/n1 spec.prefixes: node n1 is in the fabric and uses", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFabric(t)
			f.join("n1", "n2")
			f.pod("n2", "a", "web", "10.42.1.5")
			f.pod("n2", "b", "web", "10.42.1.6")
			before := f.store.String()
			for _, dry := range []bool{true, false} {
				out, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: items(t, strings.TrimSpace(c.in)), DryRun: dry})
				got := said(err)
				if err == nil {
					got = line(out.GetResults())
				}
				if !strings.Contains(got, c.want) {
					t.Errorf("dry run %t\n got  %s\n want %s", dry, got, c.want)
				}
				if (dry || err != nil) && f.store.String() != before {
					t.Error("something was written")
				}
			}
			cc, err := f.Get(t.Context(), &weftv1.GetRequest{Kind: "cc", Name: "default"})
			if err != nil || !strings.Contains(spec(t, cc.GetItem().GetSpec()), c.then) {
				t.Errorf("then it is %v %v, want %s", cc, err, c.then)
			}
		})
	}
}

func TestBadRequests(t *testing.T) {
	f := newFabric(t)
	ctx := t.Context()
	leases, nodes, tokens := weftv1.NewLeasesClient(f.conn), weftv1.NewNodesClient(f.conn), weftv1.NewTokensClient(f.conn)
	fail := func(_ any, err error) string { return said(err) }
	many := make([]*weftv1.Resource, maxItems+1)
	for i := range many {
		many[i] = &weftv1.Resource{}
	}
	deep := &structpb.Struct{Fields: map[string]*structpb.Value{"clusterCIDRs": structpb.NewStringValue(strings.Repeat("x", 600<<10))}}
	for _, c := range []struct{ got, want string }{
		{fail(f.List(ctx, &weftv1.ListRequest{})), "InvalidArgument | kind: is missing"},
		{fail(f.List(ctx, &weftv1.ListRequest{Kind: "pods"})), `InvalidArgument | kind: there is no kind "pods"; there are clusterconfigs`},
		{fail(f.List(ctx, &weftv1.ListRequest{Kind: "no", Selector: "a in b"})), `InvalidArgument | selector: "a in b" is not a term`},
		{fail(f.Get(ctx, &weftv1.GetRequest{Kind: "no"})), "InvalidArgument | name: is missing"},
		{fail(f.Get(ctx, &weftv1.GetRequest{Kind: "no", Name: "n1"})), "NotFound | there is no Node/n1"},
		{fail(f.Apply(ctx, &weftv1.ApplyRequest{})), "InvalidArgument | items: has 0 objects; accepted: 1 to 10000"},
		{fail(f.Apply(ctx, &weftv1.ApplyRequest{Items: many})), "InvalidArgument | items: has 10001 objects"},
		{fail(f.Apply(ctx, &weftv1.ApplyRequest{Items: []*weftv1.Resource{nil}})), "InvalidArgument | items[0] kind: is missing"},
		{fail(f.Apply(ctx, &weftv1.ApplyRequest{Items: []*weftv1.Resource{{Kind: "cc", Metadata: &weftv1.Metadata{Name: "default"}, Spec: deep}}})), "InvalidArgument | ClusterConfig/default spec.clusterCIDRs: "},
		{fail(f.Replace(ctx, &weftv1.ReplaceRequest{Items: items(t, "{kind: cc, metadata: {name: default}}")})), "InvalidArgument | ClusterConfig/default spec.clusterCIDRs: is empty"},
		{fail(f.Delete(ctx, &weftv1.DeleteRequest{})), "InvalidArgument | items: has 0 objects"},
		{fail(f.Delete(ctx, &weftv1.DeleteRequest{Items: []*weftv1.GetRequest{{Kind: "x"}}})), "InvalidArgument | items[0] kind: there is no kind"},
		{fail(f.Delete(ctx, &weftv1.DeleteRequest{Items: []*weftv1.GetRequest{{Kind: "ep", Name: "x"}}})), "InvalidArgument | items[0] kind: Endpoint is read-only"},
		{fail(f.Delete(ctx, &weftv1.DeleteRequest{Items: []*weftv1.GetRequest{{Kind: "Node", Name: "n1"}}})), "NotFound | there is no Node/n1"},
		{fail(f.Delete(ctx, &weftv1.DeleteRequest{Items: []*weftv1.GetRequest{{Kind: "cc", Name: "default"}}})), "FailedPrecondition | ClusterConfig/default: a fabric always has it"},
		{fail(f.Plan(ctx, &weftv1.PlanRequest{})), "InvalidArgument | apply: is empty, and delete is"},
		{fail(f.WaitForRevision(ctx, &weftv1.WaitForRevisionRequest{Revision: -1})), "InvalidArgument | revision: -1 is negative"},
		{fail(leases.WhoOwns(ctx, &weftv1.WhoOwnsRequest{Address: "10.42"})), `InvalidArgument | address: "10.42" is not an address`},
		{fail(leases.WhoOwns(ctx, &weftv1.WhoOwnsRequest{Address: "fe80::1%eth0"})), "InvalidArgument | address:"},
		{fail(leases.WhoOwns(ctx, &weftv1.WhoOwnsRequest{Address: "10.42.77.1"})), "NotFound | 10.42.77.1 belongs to no lease and to no node; it is free in cluster range 10.42.0.0/16"},
		{fail(leases.Reserve(ctx, &weftv1.ReserveRequest{Node: "n9"})), "InvalidArgument | Lease/n9 spec.prefixes: is empty"},
		{fail(leases.Reserve(ctx, &weftv1.ReserveRequest{Node: "n9", Prefixes: []string{"10.42.9.1/24"}})), "InvalidArgument | Lease/n9 spec.prefixes[0]: 10.42.9.1/24 has host bits; did you mean 10.42.9.0/24"},
		{fail(leases.Reserve(ctx, &weftv1.ReserveRequest{Node: "n9", Prefixes: []string{"169.254.1.0/24"}})), "link-local (RFC 3927)"},
		{fail(leases.Reserve(ctx, &weftv1.ReserveRequest{Node: "-", Prefixes: []string{"10.42.9.0/24"}})), `InvalidArgument | Lease/- metadata.name: "-" is not a name`},
		{fail(nodes.GetIntent(ctx, &weftv1.NodesGetIntentRequest{Node: "../x"})), `InvalidArgument | node: "../x" is not a name`},
		{fail(nodes.GetIntent(ctx, &weftv1.NodesGetIntentRequest{Node: "n1"})), "NotFound | there is no Node/n1"},
		{fail(tokens.Create(ctx, &weftv1.TokensCreateRequest{TtlSeconds: -2})), "InvalidArgument | ttl_seconds: -2 is out of bounds"},
		{fail(tokens.Create(ctx, &weftv1.TokensCreateRequest{TtlSeconds: 1 << 62})), "InvalidArgument | ttl_seconds:"},
		{fail(tokens.Create(ctx, &weftv1.TokensCreateRequest{Nodes: []string{"N1"}})), `InvalidArgument | nodes[0]: "N1" has capitals`},
		{fail(tokens.Create(ctx, &weftv1.TokensCreateRequest{Replace: true})), "InvalidArgument | nodes: is empty; a token that replaces"},
		{fail(tokens.Create(ctx, &weftv1.TokensCreateRequest{Labels: map[string]string{"a b": "c"}})), "InvalidArgument | labels: key"},
		{fail(tokens.Revoke(ctx, &weftv1.TokensRevokeRequest{})), "InvalidArgument | id:"},
		{fail(tokens.Revoke(ctx, &weftv1.TokensRevokeRequest{Id: "77"})), "NotFound | there is no token \"77\""},
	} {
		if !strings.HasPrefix(c.got, c.want) && !strings.Contains(c.got, c.want) {
			t.Errorf("got  %.300s\nwant %s", c.got, c.want)
		}
	}
}

func TestReplaceAndMerge(t *testing.T) {
	f := newFabric(t)
	f.join("n1")
	f.object(kind.Node, "n1", map[string]string{"site": "fra", "rack": "7"}, kind.NodeSpec{})
	labels := func() string {
		t.Helper()
		got, err := f.Get(t.Context(), &weftv1.GetRequest{Kind: "Node", Name: "n1"})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(got.GetItem().GetMetadata().GetLabels())
	}
	if _, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: items(t, "{kind: Node, metadata: {name: n1, labels: {site: ams}}}")}); err != nil {
		t.Fatal(err)
	}
	if got := labels(); got != "map[rack:7 site:ams weft/os:linux]" {
		t.Error("apply keeps the rest:", got)
	}
	// What get answers, with a label less, as the tool's label does.
	if _, err := f.Replace(t.Context(), &weftv1.ReplaceRequest{Items: items(t, "{kind: Node, metadata: {name: n1, labels: {site: ams, weft/os: linux}}}")}); err != nil {
		t.Fatal(err)
	}
	if got := labels(); got != "map[site:ams weft/os:linux]" {
		t.Error("replace sets the whole:", got)
	}
	e, err := f.store.Get(t.Context(), kind.Key(kind.Node, "", "n1"))
	if err != nil || strings.Contains(string(e.Value), "linux") {
		t.Errorf("what the node says of itself became what the operator says: %s %v", e.Value, err)
	}
	if _, err := f.Replace(t.Context(), &weftv1.ReplaceRequest{Items: items(t, strings.TrimSpace(config)+" {clusterCIDRs: [10.42.0.0/16, 'fd42:42::/48'], mtu: 1400}")}); err != nil {
		t.Fatal(err)
	}
}

// TestDefaultsThatCameSince: an object of an earlier release lacks a field that has
// a default by now; that is nobody's change.
func TestDefaultsThatCameSince(t *testing.T) {
	f := newFabric(t)
	key := kind.Key(kind.ClusterConfig, "", kind.DefaultName)
	e, err := f.store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	const field = `"maxPrefixesPerNode":4`
	old := strings.NewReplacer(","+field, "", field+",", "").Replace(string(e.Value))
	if old == string(e.Value) {
		t.Fatalf("no %s in %s", field, e.Value)
	}
	f.put(key, []byte(old))
	for _, c := range []struct{ spec, verb string }{
		{"{}", "unchanged"},
		{"{mtu: 1400}", "configured"},
	} {
		r, err := f.Apply(t.Context(), &weftv1.ApplyRequest{DryRun: true, Items: items(t, "apiVersion: weft/v1\nkind: ClusterConfig\nmetadata: {name: default}\nspec: "+c.spec)})
		if err != nil {
			t.Fatal(err)
		}
		before, after := r.GetResults()[0].GetBefore().GetSpec().GetFields(), r.GetResults()[0].GetAfter().GetSpec().GetFields()
		if r.GetResults()[0].GetVerb() != c.verb || before["maxPrefixesPerNode"].GetNumberValue() != 4 || len(after)-len(before) > 1 {
			t.Errorf("%s: %s\nbefore %v\nafter  %v", c.spec, line(r.GetResults()), before, after)
		}
	}
}

func TestMany(t *testing.T) {
	f := newFabric(t)
	var all []*weftv1.Resource
	for i := range 250 {
		all = append(all, items(t, fmt.Sprintf("{kind: Lease, metadata: {name: n%d}, spec: {prefixes: [10.42.%d.0/24]}}", i, i))...)
	}
	txns := 0
	f.store.Inject(storetest.Fault{Before: func(x store.Txn) error {
		txns++
		return x.Check()
	}})
	out, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: all})
	if err != nil || len(out.GetResults()) != 250 {
		t.Fatal(len(out.GetResults()), err)
	}
	if want := (250 + maxLeases - 1) / maxLeases; txns != want {
		t.Errorf("%d transactions, want %d", txns, want)
	}
	list, err := f.List(t.Context(), &weftv1.ListRequest{Kind: "ls"})
	if err != nil || len(list.GetItems()) != 250 {
		t.Error(len(list.GetItems()), err)
	}
}

func TestLostRaces(t *testing.T) {
	f := newFabric(t)
	apply := func() string {
		out, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: items(t, "{kind: cc, metadata: {name: default}, spec: {mtu: 1400}}")})
		if err != nil {
			return said(err)
		}
		return line(out.GetResults())
	}
	f.store.Conflict(maxWriteTries)
	if got := apply(); !strings.HasPrefix(got, "Aborted | others write the same all the time; try again") {
		t.Error(got)
	}
	f.store.Conflict(maxWriteTries - 1)
	if got := apply(); got != "ClusterConfig/default configured" {
		t.Error(got)
	}
	f.store.Down()
	if got := apply(); !strings.HasPrefix(got, "Unavailable | storetest: the store is down") {
		t.Error(got)
	}
}

func TestPartlyWritten(t *testing.T) {
	f := newFabric(t)
	var all []*weftv1.Resource
	for i := range 2 * maxLeases {
		all = append(all, items(t, fmt.Sprintf("{kind: Lease, metadata: {name: n%d}, spec: {prefixes: [10.42.%d.0/24]}}", i, i))...)
	}
	n := 0
	f.store.Inject(storetest.Fault{Before: func(store.Txn) error {
		if n++; n == 2 {
			return errors.New("disk full")
		}
		return nil
	}})
	_, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: all})
	if got := said(err); !strings.HasPrefix(got, "Aborted | written: Lease/n0, Lease/n1,") || !strings.Contains(got, "and 4 more; the rest is not: disk full; to repeat is safe") {
		t.Error(got)
	}
	if out, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: all}); err != nil || !strings.Contains(line(out.GetResults()), "Lease/n0 unchanged") {
		t.Error(out, err)
	}
}

func TestNodeItem(t *testing.T) {
	f := newFabric(t)
	f.join("n1", "n2", "n3", "n4")
	f.pod("n1", "a", "web", "10.42.0.9")
	f.json(kind.ObservedNode("n2"), kind.NodeObservation{HeardUnix: now.Unix(), Epoch: "e1", AppliedRevision: 7, Revision: 9, Problems: []kind.Problem{{Subject: "eth0", Cause: "is down"}}})
	f.json(kind.ObservedNode("n3"), kind.NodeObservation{HeardUnix: now.Unix() - 1000, Epoch: "e1", AppliedRevision: 9, Revision: 9})
	f.json(kind.ObservedNode("n4"), kind.NodeObservation{HeardUnix: now.Unix() - 1000, Epoch: "e0", AppliedRevision: 900, Gone: true})
	f.hub.live["n4"] = push.Status{Node: "n4", Connected: true, Heard: now, Applied: f.store.Revision(), Version: "0.2.0"}
	list, err := f.List(t.Context(), &weftv1.ListRequest{Kind: "nodes"})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		`{"addresses":["192.0.2.1"],"appliedRevision":100,"endpoints":1,"fabricAddresses":["10.42.0.0","fd42:42::"],"heardUnix":1799999999,"inStep":true,"lease":["10.42.0.0/24","fd42:42::/64"],"nat":"-","state":"Ready","uplink":"eth0/1500","version":"0.1.0","vtepMAC":"02:57:00:00:00:01"}`,
		`"inStep":false`, `"state":"Away"`, `"version":"0.2.0"`,
	} {
		if got := spec(t, list.GetItems()[i].GetStatus()); !strings.Contains(got, want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	nodes, err := weftv1.NewNodesClient(f.conn).List(t.Context(), &weftv1.NodesListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, n := range nodes.GetNodes() {
		states = append(states, n.GetName()+" "+n.GetState())
	}
	if got := strings.Join(states, ", "); got != "n1 Ready, n2 Degraded, n3 Away, n4 Ready" {
		t.Error(got)
	}
}

func TestSelectors(t *testing.T) {
	f := newFabric(t)
	f.join("n1", "n2")
	f.object(kind.Node, "n2", map[string]string{"site": "fra"}, kind.NodeSpec{})
	f.pod("n1", "a", "web", "10.42.0.9")
	f.pod("n1", "b", "db", "10.42.0.10")
	for _, c := range []struct{ kind, namespace, selector, want string }{
		{"nodes", "", "", "n1 n2"},
		{"no", "", "site=fra", "n2"},
		{"no", "", "!site", "n1"},
		{"Node", "", "weft/os=linux,site", "n2"},
		{"no", "shop", "", "n1 n2"},
		{"ep", "", "app in (web)", "n1/a/eth0"},
		{"ep", "shop", "", "n1/a/eth0 n1/b/eth0"},
		{"ep", "other", "", ""},
		{"cc", "", "", "default"},
		{"leases", "", "", "n1 n2"},
	} {
		list, err := f.List(t.Context(), &weftv1.ListRequest{Kind: c.kind, Namespace: c.namespace, Selector: c.selector})
		var names []string
		for _, i := range list.GetItems() {
			names = append(names, i.GetMetadata().GetName())
		}
		if got := strings.Join(names, " "); err != nil || got != c.want {
			t.Errorf("%s -n %q -l %q: %s, %v; want %s", c.kind, c.namespace, c.selector, got, err, c.want)
		}
	}
}

func TestDeleteNode(t *testing.T) {
	f := newFabric(t)
	f.join("n1", "n2")
	f.pod("n1", "a", "web", "10.42.0.9")
	target := &weftv1.DeleteRequest{Items: []*weftv1.GetRequest{{Kind: "no", Name: "n1"}, {Kind: "ls", Name: "n1"}}}
	if _, err := f.Delete(t.Context(), &weftv1.DeleteRequest{Items: target.GetItems()[1:]}); !strings.Contains(said(err), "FailedPrecondition | Lease/n1: node n1 is in the fabric") {
		t.Error(said(err))
	}
	out, err := f.Delete(t.Context(), target)
	if err != nil || line(out.GetResults()) != "Node/n1 deleted, Lease/n1 deleted" {
		t.Fatal(line(out.GetResults()), err)
	}
	if got := f.hub.notes(); got != "revoke n1, cut n1" {
		t.Error(got)
	}
	for key := range strings.SplitSeq(f.store.String(), "\n") {
		if strings.Contains(key, "n1") && !strings.Contains(key, "/leases/rest/") && !strings.Contains(key, revoked) {
			t.Errorf("is still there: %s", key)
		}
	}
	if _, err := f.Delete(t.Context(), target); status.Code(err) != codes.NotFound {
		t.Error(err)
	}
	got, err := f.leases.Acquire(t.Context(), "n3", nil)
	if err != nil || got[0].String() != "10.42.2.0/24" {
		t.Error("the prefix does not rest:", got, err)
	}
}

func TestDeleteReservation(t *testing.T) {
	f := newFabric(t)
	if _, err := weftv1.NewLeasesClient(f.conn).Reserve(t.Context(), &weftv1.ReserveRequest{Node: "n9", Prefixes: []string{"10.42.9.0/24"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Delete(t.Context(), &weftv1.DeleteRequest{Items: []*weftv1.GetRequest{{Kind: "no", Name: "n9"}}}); !strings.Contains(said(err), "it has a reservation: weft delete lease n9") {
		t.Error(said(err))
	}
	out, err := f.Delete(t.Context(), &weftv1.DeleteRequest{Items: []*weftv1.GetRequest{{Kind: "ls", Name: "n9"}}})
	if err != nil || line(out.GetResults()) != "Lease/n9 deleted" {
		t.Error(out, err)
	}
}

func TestWatch(t *testing.T) {
	f := newFabric(t)
	f.join("n1")
	w, err := f.Watch(t.Context(), &weftv1.WatchRequest{Kind: "nodes"})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want string) {
		t.Helper()
		e, err := w.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(e.GetVerb() + " " + e.GetItem().GetMetadata().GetName() + " " + e.GetItem().GetStatus().GetFields()["state"].GetStringValue()); got != want || e.GetRevision() == 0 {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	expect("existing n1 Ready")
	expect("synced")
	f.json(kind.ObservedNode("n1"), kind.NodeObservation{Version: "0.1.0", HeardUnix: now.Unix(), AppliedRevision: 100, Revision: 100, Epoch: "e1"}) // heard: no change
	f.object(kind.Node, "n1", map[string]string{"site": "fra"}, kind.NodeSpec{})
	expect("configured n1 Ready")
	f.json(kind.ObservedNode("n1"), kind.NodeObservation{Version: "0.1.0", HeardUnix: now.Unix(), AppliedRevision: 101, Revision: 101, Epoch: "e1"}) // and was told of it: no change
	f.json(kind.ObservedNode("n1"), kind.NodeObservation{Version: "0.1.0", HeardUnix: now.Unix(), AppliedRevision: 101, Revision: 101, Epoch: "e1", Gone: true})
	expect("configured n1 Away")
	f.object(kind.Node, "n2", nil, kind.NodeSpec{})
	expect("created n2 Away")
	if _, err := f.Delete(t.Context(), &weftv1.DeleteRequest{Items: []*weftv1.GetRequest{{Kind: "no", Name: "n2"}}}); err != nil {
		t.Fatal(err)
	}
	expect("deleted n2 Away")
	f.store.CutWatches(store.ErrCompacted)
	if _, err := w.Recv(); !strings.HasPrefix(said(err), "Aborted | history was compacted meanwhile; watch again") {
		t.Error(said(err))
	}
}

// TestWatchProgress: who waits for a revision asks to be told of each.
func TestWatchProgress(t *testing.T) {
	f := newFabric(t)
	f.join("n1")
	w, err := f.Watch(t.Context(), &weftv1.WatchRequest{Kind: "nodes", Progress: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"existing", "synced", "configured"} {
		e, err := w.Recv()
		if err != nil || e.GetVerb() != want {
			t.Fatal(e, err)
		}
		if want == "synced" {
			f.json(kind.ObservedNode("n1"), kind.NodeObservation{Version: "0.1.0", HeardUnix: now.Unix(), AppliedRevision: 101, Revision: 101, Epoch: "e1"})
		}
	}
}

func TestWatchBySelector(t *testing.T) {
	f := newFabric(t)
	f.join("n1")
	w, err := f.Watch(t.Context(), &weftv1.WatchRequest{Kind: "nodes", Selector: "site=fra"})
	if err != nil {
		t.Fatal(err)
	}
	var verbs []string
	recv := func() {
		t.Helper()
		e, err := w.Recv()
		if err != nil {
			t.Fatal(err)
		}
		verbs = append(verbs, e.GetVerb())
	}
	recv()
	f.object(kind.Node, "n1", map[string]string{"site": "fra"}, kind.NodeSpec{})
	recv()
	f.object(kind.Node, "n1", map[string]string{"site": "ams"}, kind.NodeSpec{})
	recv()
	if want := []string{"synced", "created", "deleted"}; !slices.Equal(verbs, want) {
		t.Errorf("got %v, want %v", verbs, want)
	}
}

// TestSlowWatcherIsCut: it reads nothing while everything changes.
func TestSlowWatcherIsCut(t *testing.T) {
	f := newFabric(t)
	w, err := f.Watch(t.Context(), &weftv1.WatchRequest{Kind: "ep"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Recv(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 * maxBehind {
		f.pod("n1", fmt.Sprint(i%7), strings.Repeat("x", i%200), "10.42.0.9")
	}
	for {
		if _, err = w.Recv(); err != nil {
			break
		}
	}
	if got := said(err); !strings.HasPrefix(got, "ResourceExhausted | the watcher is more than 4096 changes behind") {
		t.Error(got)
	}
}

func TestPlan(t *testing.T) {
	f := newFabric(t)
	f.join("n1", "n2")
	shape := func(r *weftv1.PlanRequest) string {
		t.Helper()
		out, err := f.Plan(t.Context(), r)
		if err != nil {
			return said(err)
		}
		var s []string
		for _, n := range out.GetNodes() {
			s = append(s, fmt.Sprintf("%s %d->%d", n.GetNode(), len(n.GetBefore().GetObjects()), len(n.GetAfter().GetObjects())))
		}
		return strings.Join(s, ", ")
	}
	before := f.store.String()
	for _, c := range []struct {
		in   *weftv1.PlanRequest
		want string
	}{
		{&weftv1.PlanRequest{Apply: items(t, "{kind: cc, metadata: {name: default}, spec: {vni: 4096}}")}, "n1 0->0, n2 0->0"},
		{&weftv1.PlanRequest{Apply: items(t, "{kind: cc, metadata: {name: default}, spec: {directRouting: true}}")}, "n1 3->3, n2 3->3"},
		{
			&weftv1.PlanRequest{Apply: items(t, "{kind: cc, metadata: {name: default}, spec: {backend: host-gw}}")},
			"InvalidArgument | ClusterConfig/default spec.backend: host-gw reaches a prefix by addresses of its own family on one link: n1 and n2 have no IPv6 addresses on 192.0.2.0/24; accepted: vxlan, or first give the nodes such addresses",
		},
		{&weftv1.PlanRequest{Delete: []*weftv1.GetRequest{{Kind: "no", Name: "n2"}}}, "n1 3->2, n2 3->0"},
		{&weftv1.PlanRequest{Delete: []*weftv1.GetRequest{{Kind: "no", Name: "n3"}}}, "NotFound | there is no Node/n3"},
		{&weftv1.PlanRequest{Apply: items(t, "{kind: cc, metadata: {name: default}, spec: {mtu: 1}}")}, "InvalidArgument | ClusterConfig/default spec.mtu: 1 is out of bounds; accepted: 1280, which IPv6 (RFC 8200) needs, to 65535, or 0 to derive it from the uplink"},
	} {
		if got := shape(c.in); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	if f.store.String() != before {
		t.Error("a plan wrote something")
	}
}

func TestWaitForRevision(t *testing.T) {
	f := newFabric(t)
	rev := f.store.Revision()
	if out, err := f.WaitForRevision(t.Context(), &weftv1.WaitForRevisionRequest{Revision: rev}); err != nil || len(out.GetBehind()) > 0 {
		t.Error(out, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*lead)
	defer cancel()
	f.hub.behind = []string{"n2"}
	if out, err := f.WaitForRevision(ctx, &weftv1.WaitForRevisionRequest{Revision: rev}); err != nil || !slices.Equal(out.GetBehind(), []string{"n2"}) {
		t.Error("who is behind is told before the caller's deadline:", out, err)
	}
	f.hub.behind = nil
	ctx, cancel = context.WithTimeout(t.Context(), 2*lead+50*time.Millisecond)
	defer cancel()
	if _, err := f.WaitForRevision(ctx, &weftv1.WaitForRevisionRequest{Revision: rev + 1000}); status.Code(err) != codes.DeadlineExceeded {
		t.Error(err)
	}
}

func TestListKinds(t *testing.T) {
	f := newFabric(t)
	out, err := f.ListKinds(t.Context(), &weftv1.ListKindsRequest{})
	if err != nil || len(out.GetKinds()) != 5 {
		t.Fatal(out, err)
	}
	for _, k := range out.GetKinds() {
		if k.GetDescription() == "" || len(k.GetColumns()) == 0 || len(k.GetShortNames()) == 0 {
			t.Errorf("%s is not described", k.GetName())
		}
	}
}

// TestUnreadable: an object that this release cannot read is shown without its
// spec, and can be applied whole or deleted.
func TestUnreadable(t *testing.T) {
	f := newFabric(t)
	f.put(kind.Key(kind.Lease, "", "n8"), []byte(`{"schema": 99}`))
	f.put(kind.Key(kind.Lease, "", "n9"), []byte(`half`))
	list, err := f.List(t.Context(), &weftv1.ListRequest{Kind: "ls"})
	if err != nil || len(list.GetItems()) != 2 || list.GetItems()[1].GetMetadata().GetName() != "n9" {
		t.Error(list, err)
	}
	out, err := f.Delete(t.Context(), &weftv1.DeleteRequest{Items: []*weftv1.GetRequest{{Kind: "ls", Name: "n8"}}})
	if err != nil || line(out.GetResults()) != "Lease/n8 deleted" {
		t.Error(out, said(err))
	}
	again, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: items(t, "{kind: Lease, metadata: {name: n9}, spec: {prefixes: [10.42.9.0/24]}}")})
	if err != nil || line(again.GetResults()) != "Lease/n9 configured" {
		t.Error(again, said(err))
	}
}
