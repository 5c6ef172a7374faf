package agent

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/proto/intent"
)

func TestSubnetEnv(t *testing.T) {
	ps := func(s string) (out []netip.Prefix) {
		for _, f := range strings.Fields(s) {
			out = append(out, netip.MustParsePrefix(f))
		}
		return out
	}
	uplink := []intent.Underlay{{Addr: netip.MustParsePrefix("192.0.2.1/24"), Device: "eth0", MTU: 1500}}
	for _, c := range []struct{ name, cidrs, lease, want string }{
		{"no lease", "10.42.0.0/16", "", ""},
		{"IPv4", "10.42.0.0/16", "10.42.1.0/24", "FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"},
		{
			"both, two ranges, a further prefix", "10.42.0.0/16 fd42:42::/48 10.52.0.0/16", "10.42.1.0/24 10.52.9.0/24 fd42:42:0:1::/64",
			"FLANNEL_NETWORK=10.42.0.0/16,10.52.0.0/16\nFLANNEL_SUBNET=10.42.1.1/24\nFLANNEL_IPV6_NETWORK=fd42:42::/48\nFLANNEL_IPV6_SUBNET=fd42:42:0:1::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
		},
		{"IPv6", "fd42:42::/48", "fd42:42:0:1::/64", "FLANNEL_IPV6_NETWORK=fd42:42::/48\nFLANNEL_IPV6_SUBNET=fd42:42:0:1::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"},
	} {
		n := intent.Node{
			Name: "n1", Cluster: intent.Cluster{CIDRs: ps(c.cidrs), Backend: intent.VXLAN},
			Peers: []intent.Peer{{Name: "n1", Lease: ps(c.lease)}},
		}
		if diff := cmp.Diff(c.want, subnetEnv(n, uplink)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, diff)
		}
	}
}

func TestWriteSubnet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "subnet.env")
	for _, c := range []struct{ content, want string }{{"A=1\n", "A=1\n"}, {"", "A=1\n"}, {"A=2\n", "A=2\n"}} {
		if err := writeSubnet(path, c.content); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != c.want {
			t.Errorf("%q %v, want %q", b, err, c.want)
		}
	}
}
