package lease

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"sigs.k8s.io/yaml"
)

// object is one as an operator gives it.
func object(t *testing.T, text string) kind.Object {
	t.Helper()
	var d struct {
		Kind     string          `json:"kind"`
		Metadata kind.Metadata   `json:"metadata"`
		Spec     json.RawMessage `json:"spec"`
	}
	if err := yaml.UnmarshalStrict([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	o, err := kind.Given{Kind: d.Kind, Name: d.Metadata.Name, Labels: d.Metadata.Labels, Spec: d.Spec}.Build()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestGuard(t *testing.T) {
	config := func(ranges string) string {
		return "{kind: cc, metadata: {name: default}, spec: {clusterCIDRs: [" + ranges + "]}}"
	}
	reserve := func(node, prefixes string) string {
		return "{kind: Lease, metadata: {name: " + node + "}, spec: {prefixes: [" + prefixes + "]}}"
	}
	for _, c := range []struct{ name, set, gone, want string }{
		{"OK a label", "{kind: Node, metadata: {name: n1, labels: {a: b}}}", "", ""},
		{"OK wider", config("10.42.0.0/15, 'fd42:42::/48'"), "", ""},
		{"OK as small as fits", config("10.42.0.0/22, 'fd42:42::/62'"), "", ""},
		{"OK other order", config("'fd42:42::/48', 10.42.0.0/16"), "", ""},
		{"OK a range more", config("10.42.0.0/16, 'fd42:42::/48', 10.50.0.0/16"), "", ""},
		{
			"bad too small", config("10.42.0.0/23, 'fd42:42::/48'"), "",
			"ClusterConfig/default spec.clusterCIDRs[0]: 10.42.0.0/23 is too small: it leaves out 1 lease in use\n" +
				"  n3 10.42.2.0/24\n" +
				"accepted: any prefix that holds 10.42.0.0/22; or free them first: weft delete lease n3",
		},
		{
			"bad a family gone", config("10.42.0.0/16"), "",
			"ClusterConfig/default spec.clusterCIDRs: has no IPv6 range: that leaves out 1 lease in use\n" +
				"  n3 fd42:42:0:2::/64\n" +
				"accepted: any prefix that holds fd42:42:0:2::/64; or free them first: weft delete lease n3",
		},
		{"bad both", config("10.43.0.0/16, 'fd43::/48'"), "", "spec.clusterCIDRs[1]: fd43::/48 is elsewhere: it leaves out 3 leases in use"},
		{"bad holds a node", config("10.42.0.0/16, 'fd42:42::/48', 192.168.0.0/16"), "", "ClusterConfig/default spec.clusterCIDRs[2]: 192.168.0.0/16 holds the address 192.168.1.1 of node n1"},

		{"OK reservation", reserve("n9", "10.42.9.0/24"), "", ""},
		{"OK reservation of another length", reserve("n9", "10.42.8.0/22, 'fd42:42:0:9::/64'"), "", ""},
		{"OK a prefix more", reserve("n1", "10.42.0.0/24, 'fd42:42::/64', 10.42.9.0/24"), "", ""},
		{"OK a reservation changed", reserve("n3", "10.42.9.0/24"), "", ""},
		{"OK a reservation ends", "", "n3", ""},
		{"bad taken", reserve("n9", "10.42.1.0/24"), "", "Lease/n9 spec.prefixes[0]: 10.42.1.0/24 overlaps 10.42.1.0/24, the lease of node n2"},
		{"bad holds another's", reserve("n9", "'fd42:42:0:9::/64', 10.42.0.0/22"), "", "Lease/n9 spec.prefixes[1]: 10.42.0.0/22 overlaps 10.42.0.0/24, the lease of node n1"},
		{"bad outside", reserve("n9", "10.43.1.0/24"), "", "Lease/n9 spec.prefixes[0]: 10.43.1.0/24 lies in none of the cluster's ranges; accepted: a prefix of [10.42.0.0/16 fd42:42::/48]"},
		{"bad a joined node's lease changed", reserve("n1", "10.42.9.0/24"), "", "Lease/n1 spec.prefixes: node n1 is in the fabric and uses [10.42.0.0/24 fd42:42::/64]"},
		{"bad a joined node's lease deleted", "", "n1", "Lease/n1: node n1 is in the fabric and uses"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newCluster(t, "10.42.0.0/16 fd42:42::/48")
			for i := range 3 {
				f.acquire(fmt.Sprintf("n%d", i+1), "")
			}
			f.object(kind.Node, "n1", kind.NodeSpec{})
			f.object(kind.Report, "n1", kind.ReportSpec{Addresses: []kind.ReportAddress{{Address: netip.MustParsePrefix("192.168.1.1/24")}}})
			f.object(kind.Node, "n2", kind.NodeSpec{})
			var set []kind.Object
			if c.set != "" {
				set = append(set, object(t, c.set))
			}
			txn, err := f.alloc.Guard(t.Context(), set, strings.Fields(c.gone))
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got  %v\nwant %s", err, c.want)
			case err == nil && !strings.Contains(c.name, "label") && len(txn.If) < 2:
				t.Error("the transaction is not guarded")
			}
		})
	}
}

// TestGuardedTransactionLoses: between the check and the write a node acquires.
func TestGuardedTransactionLoses(t *testing.T) {
	f := newCluster(t, "10.42.0.0/16")
	o := object(t, "{kind: Lease, metadata: {name: n9}, spec: {prefixes: [10.42.0.0/24]}}")
	txn, err := f.alloc.Guard(t.Context(), []kind.Object{o}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f.expect(f.acquire("n1", ""), "10.42.0.0/24")
	txn.Then = append(txn.Then, store.Write{Key: kind.Key(kind.Lease, "", "n9"), Value: []byte("{}")})
	if _, err := f.store.Commit(t.Context(), txn); err == nil {
		t.Error("10.42.0.0/24 has two nodes")
	}
}

// TestFreedByAnOperatorRests: what a changed reservation gives up rests too.
func TestFreedByAnOperatorRests(t *testing.T) {
	f := newCluster(t, "10.42.0.0/16")
	f.object(kind.Lease, "n9", kind.LeaseSpec{Node: "n9", Prefixes: prefixes("10.42.0.0/24")})
	txn, err := f.alloc.Guard(t.Context(), nil, []string{"n9"})
	if err != nil {
		t.Fatal(err)
	}
	txn.Then = append(txn.Then, store.Write{Key: kind.Key(kind.Lease, "", "n9")})
	if _, err := f.store.Commit(t.Context(), txn); err != nil {
		t.Fatal(err)
	}
	f.expect(f.acquire("n1", ""), "10.42.1.0/24")
}
