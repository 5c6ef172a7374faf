package admin

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-net/weft/server/kind"
)

func TestFit(t *testing.T) {
	for _, c := range []struct{ name, before, after, nodes, want string }{
		{"OK host-gw on one link", `{"clusterCIDRs": ["10.42.0.0/16"]}`, `{"clusterCIDRs": ["10.42.0.0/16"], "backend": "host-gw"}`, "192.0.2.1/24 1500, 192.0.2.2/24 1500", ""},
		{
			"bad host-gw on two", `{"clusterCIDRs": ["10.42.0.0/16"]}`, `{"clusterCIDRs": ["10.42.0.0/16"], "backend": "host-gw"}`, "192.0.2.1/24 1500, 198.51.100.2/24 1500",
			"spec.backend: host-gw needs all nodes on one L2: n0 192.0.2.1/24 and n1 198.51.100.2/24 are apart; accepted: vxlan",
		},
		{
			"bad host-gw of two families on one link of one", `{"clusterCIDRs": ["10.42.0.0/16", "fd42::/48"]}`, `{"clusterCIDRs": ["10.42.0.0/16", "fd42::/48"], "backend": "host-gw"}`, "192.0.2.1/24 1500, 192.0.2.2/24 1500, 192.0.2.3/24 1500",
			"spec.backend: host-gw reaches a prefix by addresses of its own family on one link: n0 and n1 have no IPv6 addresses on 192.0.2.0/24; accepted: vxlan, or first give the nodes such addresses",
		},
		{"OK host-gw of two families on one link of both", `{"clusterCIDRs": ["10.42.0.0/16", "fd42::/48"]}`, `{"clusterCIDRs": ["10.42.0.0/16", "fd42::/48"], "backend": "host-gw"}`, "192.0.2.1/24+2001:db8::1/64 1500, 192.0.2.2/24+2001:db8::2/64 1500", ""},
		{
			"bad host-gw, one node of one family", `{"clusterCIDRs": ["10.42.0.0/16", "fd42::/48"]}`, `{"clusterCIDRs": ["10.42.0.0/16", "fd42::/48"], "backend": "host-gw"}`, "192.0.2.1/24+2001:db8::1/64 1500, 192.0.2.2/24 1500",
			"spec.backend: host-gw reaches a prefix by addresses of its own family on one link: n0 and n1 have no IPv6",
		},
		{"OK host-gw of IPv4 alone", `{"clusterCIDRs": ["10.42.0.0/16"]}`, `{"clusterCIDRs": ["10.42.0.0/16"], "backend": "host-gw"}`, "192.0.2.1/24 1500, 192.0.2.2/24 1500, 192.0.2.3/24 1500", ""},
		{"OK back to vxlan", `{"clusterCIDRs": ["10.42.0.0/16", "fd42::/48"], "backend": "host-gw"}`, `{"clusterCIDRs": ["10.42.0.0/16", "fd42::/48"]}`, "192.0.2.1/24 1500, 192.0.2.2/24 1500", ""},
		{"OK a fabric that host-gw carries no IPv6 of already", `{"clusterCIDRs": ["10.42.0.0/16", "fd42::/48"], "backend": "host-gw"}`, `{"clusterCIDRs": ["10.42.0.0/16", "fd42::/48"], "backend": "host-gw", "masquerade": "never"}`, "192.0.2.1/24 1500, 192.0.2.2/24 1500", ""},
		{
			"bad host-gw, of the nodes some are elsewhere", `{"clusterCIDRs": ["10.42.0.0/16"]}`, `{"clusterCIDRs": ["10.42.0.0/16"], "backend": "host-gw"}`, "192.0.2.1/24 1500, 192.0.2.2/24 1500, 198.51.100.3/24 1500, 198.51.100.4/24 1500",
			"n0 192.0.2.1/24 and n2 198.51.100.3/24 are apart",
		},
		{
			"bad IPv6 on a narrow uplink", `{"clusterCIDRs": ["10.42.0.0/16"]}`, `{"clusterCIDRs": ["10.42.0.0/16", "fd42::/48"]}`, "192.0.2.1/24 1500, 192.0.2.2/24 1300",
			"spec.clusterCIDRs: IPv6 needs 1280 bytes (RFC 8200), which do not fit through eth0 of n1 (1300, 1250 are left)",
		},
		{"OK it was so before", `{"clusterCIDRs": ["fd42::/48"]}`, `{"clusterCIDRs": ["fd42::/48", "fd43::/48"]}`, "192.0.2.2/24 1300", ""},
		{"bad vxlan makes it too large", `{"clusterCIDRs": ["10.42.0.0/16"], "backend": "none", "mtu": 1500}`, `{"clusterCIDRs": ["10.42.0.0/16"], "mtu": 1500}`, "192.0.2.2/24 1500", "spec.mtu: 1500 does not fit through eth0 of n0 (1500, 1450 are left); accepted: up to 1450"},
		{"OK no node yet", `{"clusterCIDRs": ["10.42.0.0/16"]}`, `{"clusterCIDRs": ["10.42.0.0/16"], "mtu": 9000}`, "", ""},
	} {
		v := newView()
		for i, text := range strings.Split(c.nodes, ", ") {
			var p string
			var mtu int
			if n, _ := fmt.Sscanf(text, "%s %d", &p, &mtu); n == 2 {
				n := v.node(fmt.Sprint("n", i))
				n.reported = 1
				for _, a := range strings.Split(p, "+") {
					n.report.Addresses = append(n.report.Addresses, kind.ReportAddress{Address: netip.MustParsePrefix(a), Device: "eth0", MTU: mtu})
				}
			}
		}
		object := func(spec string) kind.Object {
			o, err := kind.Given{Kind: kind.ClusterConfig, Name: kind.DefaultName, Spec: json.RawMessage(spec)}.Build()
			if err != nil {
				t.Fatal(err)
			}
			return o
		}
		got := v.fit(edit{before: stored{object(c.before), 1}, after: object(c.after)}).Error()
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
