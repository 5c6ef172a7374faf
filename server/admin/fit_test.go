package admin

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-net/weft/proto/intent"
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
		{
			"bad wireguard with an agent of before", `{"clusterCIDRs": ["10.42.0.0/16"]}`, `{"clusterCIDRs": ["10.42.0.0/16"], "backend": "wireguard"}`, "192.0.2.1/24 1500 mesh,wireguard-go, 192.0.2.2/24 1500",
			"spec.backend: wireguard needs agents that know it: n1 runs release unknown; upgrade weft-agent there first, or weft delete node",
		},
		{"OK wireguard, of kernel and process", `{"clusterCIDRs": ["10.42.0.0/16"]}`, `{"clusterCIDRs": ["10.42.0.0/16"], "backend": "wireguard"}`, "192.0.2.1/24 1500 mesh,wireguard-go, 192.0.2.2/24 1500 mesh,wireguard-kernel", ""},
		{
			"bad wireguard where there is none", `{"clusterCIDRs": ["10.42.0.0/16"]}`, `{"clusterCIDRs": ["10.42.0.0/16"], "backend": "wireguard"}`, "192.0.2.1/24 1500 mesh,wireguard-go, 192.0.2.2/24 1500 mesh",
			"spec.backend: wireguard needs WireGuard on every node, in the kernel or as a process: n1 has none; on these: weft-agent check-config",
		},
		{"OK auto where there is none: VXLAN inside of a site", `{"clusterCIDRs": ["10.42.0.0/16"]}`, `{"clusterCIDRs": ["10.42.0.0/16"], "backend": "auto"}`, "192.0.2.1/24 1500 mesh,wireguard-go, 192.0.2.2/24 1500 mesh", ""},
		{
			"bad always where there is none", `{"clusterCIDRs": ["10.42.0.0/16"], "backend": "auto"}`, `{"clusterCIDRs": ["10.42.0.0/16"], "backend": "auto", "encryption": "always"}`, "192.0.2.1/24 1500 mesh",
			"auto needs WireGuard on every node",
		},
		{"OK an agent of before came to a mesh", `{"clusterCIDRs": ["10.42.0.0/16"], "backend": "wireguard"}`, `{"clusterCIDRs": ["10.42.0.0/16"], "backend": "wireguard", "keyDays": 90}`, "192.0.2.1/24 1500", ""},
		{"bad wireguard's cost", `{"clusterCIDRs": ["10.42.0.0/16"], "mtu": 1450}`, `{"clusterCIDRs": ["10.42.0.0/16"], "mtu": 1450, "backend": "wireguard"}`, "192.0.2.1/24 1500 mesh,wireguard-go", "spec.mtu: 1450 does not fit through eth0 of n0 (1500, 1440 are left); accepted: up to 1440"},
		{
			"bad gateways of one site only", `{"clusterCIDRs": ["10.42.0.0/16"], "backend": "auto"}`, `{"clusterCIDRs": ["10.42.0.0/16"], "backend": "auto", "topology": "site-gateways"}`, "192.0.2.1/24 1500 mesh @fra*, 192.0.2.2/24 1500 mesh @home",
			"spec.topology: site-gateways needs a node with the label weft/relay=true in each site, better two: site home has none; weft label node NODE weft/relay=true",
		},
		{"OK gateways of both", `{"clusterCIDRs": ["10.42.0.0/16"], "backend": "auto"}`, `{"clusterCIDRs": ["10.42.0.0/16"], "backend": "auto", "topology": "site-gateways"}`, "192.0.2.1/24 1500 mesh @fra*, 192.0.2.2/24 1500 mesh @home*", ""},
		{"OK no node yet", `{"clusterCIDRs": ["10.42.0.0/16"]}`, `{"clusterCIDRs": ["10.42.0.0/16"], "mtu": 9000}`, "", ""},
	} {
		v := newView()
		for i, text := range strings.Split(c.nodes, ", ") {
			var p string
			var mtu int
			if n, _ := fmt.Sscanf(text, "%s %d", &p, &mtu); n == 2 {
				n := v.node(fmt.Sprint("n", i))
				n.reported = 1
				for _, word := range strings.Fields(text)[2:] { // capabilities, and @SITE, with * for one that relays
					site, relays := strings.CutSuffix(strings.TrimPrefix(word, "@"), "*")
					if word[0] != '@' {
						n.report.Capabilities = strings.Split(word, ",")
						continue
					}
					n.report.Labels = map[string]string{intent.SiteLabel: site, intent.RelayLabel: fmt.Sprint(relays)}
				}
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
