package kind

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLeftOut(t *testing.T) {
	e := LeftOut{Field: "spec.clusterCIDRs[0]", Range: netip.MustParsePrefix("10.42.0.0/20"), Leases: []InUse{
		{Node: "n17", Prefix: netip.MustParsePrefix("10.42.17.0/24"), Joined: true, Note: "41 pods"},
		{Node: "n18", Prefix: netip.MustParsePrefix("10.42.18.0/24"), Joined: true, Note: "12 pods"},
		{Node: "n30", Prefix: netip.MustParsePrefix("10.42.30.0/24"), Joined: true, Away: true, Note: "empty, away 9d"},
		{Node: "n31", Prefix: netip.MustParsePrefix("10.42.31.0/24"), Note: "reserved"},
	}}
	want := `ClusterConfig/default spec.clusterCIDRs[0]: 10.42.0.0/20 is too small: it leaves out 4 leases in use
  n17 10.42.17.0/24 (41 pods)   n18 10.42.18.0/24 (12 pods)   n30 10.42.30.0/24 (empty, away 9d)   n31 10.42.31.0/24 (reserved)
accepted: any prefix that holds 10.42.0.0/19; or free them first: weft delete lease n31, weft delete node n30, weft drain lease n17 n18`
	if diff := cmp.Diff(want, e.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestLeftOutNamesSome(t *testing.T) {
	e := LeftOut{Field: "spec.clusterCIDRs"}
	for i := range 14 {
		e.Leases = append(e.Leases, InUse{Node: fmt.Sprintf("n%d", i), Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 42, byte(i)}), 24)})
	}
	want := `ClusterConfig/default spec.clusterCIDRs: has no IPv4 range: that leaves out 14 leases in use
  n0 10.42.0.0/24   n1 10.42.1.0/24   n2 10.42.2.0/24   n3 10.42.3.0/24   n4 10.42.4.0/24   n5 10.42.5.0/24   n6 10.42.6.0/24   n7 10.42.7.0/24   n8 10.42.8.0/24   n9 10.42.9.0/24   n10 10.42.10.0/24   n11 10.42.11.0/24   and 2 more
accepted: any prefix that holds 10.42.0.0/20; or free them first: weft delete lease n0 n1 n2 n3 n4 n5 n6 n7 n8 n9 n10 n11 …`
	if diff := cmp.Diff(want, e.Error()); diff != "" {
		t.Error(diff)
	}
}

// A range elsewhere is not joined with the leases: what holds both holds too much.
func TestLeftOutElsewhere(t *testing.T) {
	e := LeftOut{
		Field: "spec.clusterCIDRs[0]", Range: netip.MustParsePrefix("10.99.0.0/16"), Before: netip.MustParsePrefix("10.42.0.0/16"),
		Leases: []InUse{{Node: "n1", Prefix: netip.MustParsePrefix("10.42.1.0/24"), Joined: true}},
	}
	want := `ClusterConfig/default spec.clusterCIDRs[0]: 10.99.0.0/16 is elsewhere: it leaves out 1 lease in use
  n1 10.42.1.0/24
keep 10.42.0.0/16, it holds 1 lease; or free them first: weft drain lease n1`
	if diff := cmp.Diff(want, e.Error()); diff != "" {
		t.Error(diff)
	}
}
