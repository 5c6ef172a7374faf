package agent

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/weft-net/weft/proto/disk"
	"github.com/weft-net/weft/proto/intent"
)

// subnetEnv is what Flannel's daemon writes for Flannel's CNI plugin, which gives
// the addresses of the lease to pods instead of weft-cni. Of each family it is the
// first prefix, which is the only one that the plugin takes, with the first address
// for pods. It is empty while the node has no lease.
//
// FLANNEL_IPMASQ tells the plugin that masquerading is done: were it false, the
// plugin would have its bridge masquerade what goes to other nodes' pods too.
func subnetEnv(n intent.Node, underlay []intent.Underlay) string {
	self, _ := n.Self()
	if len(self.Lease) == 0 {
		return ""
	}
	self.Underlay = underlay
	var b strings.Builder
	for _, f := range []struct {
		key string
		is4 bool
	}{{"FLANNEL_", true}, {"FLANNEL_IPV6_", false}} {
		first, ok := self.FabricOf(f.is4)
		if !ok {
			continue
		}
		var networks []netip.Prefix
		for _, c := range n.Cluster.CIDRs {
			if c.Addr().Is4() == f.is4 {
				networks = append(networks, c)
			}
		}
		for _, l := range self.Lease {
			if l.Addr() == first {
				fmt.Fprintf(&b, "%sNETWORK=%s\n%sSUBNET=%v\n", f.key, cmp.Or(joined(networks), l.String()), f.key, netip.PrefixFrom(first.Next(), l.Bits()))
			}
		}
	}
	fmt.Fprintf(&b, "FLANNEL_MTU=%d\nFLANNEL_IPMASQ=true\n", n.Cluster.PodMTU(self))
	return b.String()
}

// showSubnet keeps the file of --subnet-file as it should be. It is not written
// while pods have addresses from weft-cni: the plugin would give them out again.
func (a *agent) showSubnet(n intent.Node) []intent.Problem {
	path := a.cfg.SubnetFile
	if path == "" {
		return nil
	}
	if pods := a.pods.Endpoints(); len(pods) > 0 {
		return []intent.Problem{{
			Subject: path,
			Cause:   fmt.Sprintf("it is not written: %d pods have addresses of this node's lease from weft-cni, which another plugin would give out again", len(pods)),
			Remedy:  "delete these pods (weft get endpoints), or start the agent without --subnet-file",
		}}
	}
	if err := writeSubnet(path, subnetEnv(n, a.host.view().underlay)); err != nil {
		return []intent.Problem{{Subject: path, Cause: err.Error(), Remedy: "make its folder writable, or choose another file with --subnet-file"}}
	}
	return nil
}

// writeSubnet writes only what differs, whole or not at all.
func writeSubnet(path, content string) error {
	if have, err := os.ReadFile(path); err == nil && string(have) == content || content == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("agent: --subnet-file: %w", err)
	}
	return disk.WriteFile(path, []byte(content), 0o644)
}
