package agent

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/weft-net/weft/proto/disk"
	"github.com/weft-net/weft/proto/intent"
)

const envName = "node.env"

// nodeEnv is node.env, for units and scripts that start after the fabric is up
// (systemd.exec(5), EnvironmentFile=). It is empty while the node has no lease.
func nodeEnv(n intent.Node, underlay []intent.Underlay) string {
	self, _ := n.Self()
	if len(self.Lease) == 0 {
		return ""
	}
	self.Underlay = underlay
	var b strings.Builder
	fmt.Fprintf(&b, "WEFT_NODE=%s\n", n.Name)
	for _, f := range []struct {
		key string
		is4 bool
	}{{"WEFT_FABRIC_IPV4", true}, {"WEFT_FABRIC_IPV6", false}} {
		if a, ok := self.FabricOf(f.is4); ok {
			fmt.Fprintf(&b, "%s=%v\n", f.key, a)
		}
	}
	fmt.Fprintf(&b, "WEFT_MTU=%d\nWEFT_LEASE=%s\n", n.Cluster.PodMTU(self), joined(self.Lease))
	return b.String()
}

func joined(ps []netip.Prefix) string {
	var out []string
	for _, p := range ps {
		out = append(out, p.String())
	}
	return strings.Join(out, ",")
}

// writeEnv keeps node.env as it should be and writes only what differs.
func writeEnv(runDir, content string) error {
	path := filepath.Join(runDir, envName)
	if have, err := os.ReadFile(path); err == nil && string(have) == content || content == "" {
		return nil
	}
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return fmt.Errorf("agent: make the run folder: %w; choose one with --run-dir", err)
	}
	return disk.WriteFile(path, []byte(content), 0o644)
}
