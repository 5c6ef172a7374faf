package admin

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/weft-net/weft/proto/intent"
)

// unmeshed names the nodes whose agents do not know pairs that choose their way.
func (v *view) unmeshed() []string { return v.without(intent.CapabilityMesh) }

// unshared names the nodes whose agents do not know pre-shared keys.
func (v *view) unshared() []string { return v.without(intent.CapabilityShared) }

// without names the nodes that do not report a capability of their agents.
func (v *view) without(capability string) []string {
	var out []string
	for _, m := range v.members() {
		if m.reported > 0 && !slices.Contains(m.report.Capabilities, capability) {
			out = append(out, fmt.Sprintf("%s runs release %s", m.name, cmp.Or(m.seen.Version, "unknown")))
		}
	}
	return out
}

// unsealed names the nodes that can make no WireGuard device.
func (v *view) unsealed() []string {
	var out []string
	for _, m := range v.members() {
		if slices.Contains(m.report.Capabilities, intent.CapabilityMesh) && wireguard(m.report) == "" {
			out = append(out, m.name+" has none")
		}
	}
	return out
}

// gateless names the sites without a node that relays, where there are several sites.
func (n neighbours) gateless() []string {
	sites := map[string]bool{}
	for _, p := range n.peers {
		if site := p.Site(); site != "" {
			sites[site] = sites[site] || p.Relaying()
		}
	}
	var out []string
	for _, site := range slices.Sorted(maps.Keys(sites)) {
		if !sites[site] && len(sites) > 1 {
			out = append(out, "site "+site+" has none")
		}
	}
	return out
}

// outside names the nodes that have reported no address of a tailnet.
func (n neighbours) outside() []string {
	var out []string
	for _, p := range n.peers {
		if _, in := p.InTailnet(); !in {
			out = append(out, p.Name+" is in none")
		}
	}
	return out
}
