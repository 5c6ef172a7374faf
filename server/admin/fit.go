package admin

import (
	"fmt"
	"strings"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/compile"
	"github.com/weft-net/weft/server/kind"
)

// maxMisfits bounds how many nodes an error names.
const maxMisfits = 6

// fit refuses a ClusterConfig that the nodes there are cannot live with. What was so
// before is not held against a change of something else.
func (v *view) fit(e edit) kind.FieldErrors {
	var was, spec kind.ClusterConfigSpec
	if e.after.Kind != kind.ClusterConfig || e.after.ReadSpec(&spec) != nil || e.before.revision > 0 && e.before.ReadSpec(&was) != nil {
		return nil
	}
	now, err := compile.Cluster(spec)
	if err != nil {
		return nil // Build has said so
	}
	before, _ := compile.Cluster(was)
	n := neighbours{cluster: now}
	for _, m := range v.members() {
		p := intent.Peer{Name: m.name, Labels: m.labels()}
		for _, a := range m.report.Addresses {
			p.Underlay = append(p.Underlay, intent.Underlay{Addr: a.Address, Device: a.Device, MTU: a.MTU})
		}
		n.peers = append(n.peers, p)
	}
	var errs kind.FieldErrors
	add := func(field string, misfits []string, format string, args ...any) {
		if len(misfits) > maxMisfits {
			misfits = append(misfits[:maxMisfits], fmt.Sprintf("and %d more", len(misfits)-maxMisfits))
		}
		if len(misfits) > 0 {
			errs = append(errs, kind.FieldError{
				Object: kind.ClusterConfig + "/" + kind.DefaultName, Field: field,
				Problem: strings.ReplaceAll(fmt.Sprintf(format, args...), "NODES", strings.Join(misfits, ", ")),
			})
		}
	}
	wider := now.MTU != before.MTU || now.Backend != before.Backend
	if wider && now.MTU > 0 {
		least, misfits := n.narrow(now.MTU)
		add("spec.mtu", misfits, "%d does not fit through NODES; accepted: up to %d, or 0 to derive it from each uplink", now.MTU, least)
	}
	if six(now) && (!six(before) || wider) {
		_, misfits := n.narrow(intent.MinMTU6)
		add("spec.clusterCIDRs", misfits, "IPv6 needs %d bytes (RFC 8200), which do not fit through NODES; raise the MTU there, or leave IPv6 out", intent.MinMTU6)
	}
	if now.Backend == intent.HostGW && before.Backend != intent.HostGW {
		add("spec.backend", n.apart(), "host-gw needs all nodes on one L2: NODES; accepted: vxlan, with directRouting: true for pairs that share one")
		add("spec.backend", n.familyless(before), "host-gw reaches a prefix by addresses of its own family on one link: NODES; accepted: vxlan, or first give the nodes such addresses")
	}
	if now.Carrier().NeedsMesh() && !before.Carrier().NeedsMesh() {
		add("spec.backend", v.unmeshed(), "%s needs agents that know it: NODES; upgrade weft-agent there first, or weft delete node for one that is gone", now.Backend)
	}
	if now.Backend == intent.Tailnet && before.Backend != intent.Tailnet {
		add("spec.backend", n.outside(), "tailscale needs every node in one tailnet: NODES; on these: weft-agent --vpn-auth name=tailscale,joinKey=KEY, or weft delete node for one that is gone")
	}
	if sealed(now) && !sealed(before) {
		add("spec.backend", v.unsealed(), "%s needs WireGuard on every node, in the kernel or as a process: NODES; on these: weft-agent check-config", now.Backend)
	}
	if now.PostQuantum && !before.PostQuantum {
		add("spec.postQuantum", v.unshared(), "true needs agents that know pre-shared keys: NODES; upgrade weft-agent there first, or weft delete node for one that is gone")
	}
	if now.Topology == intent.TopologyGateways && before.Topology != intent.TopologyGateways {
		add("spec.topology", n.gateless(), "site-gateways needs a node with the label %s=true in each site, better two: NODES; weft label node NODE %s=true", intent.RelayLabel, intent.RelayLabel)
	}
	return errs
}

// sealed tells whether all pairs need WireGuard.
func sealed(c intent.Cluster) bool {
	return c.Backend == intent.WireGuard || c.Backend == intent.Auto && c.Encryption == intent.EncryptAlways
}

func six(c intent.Cluster) bool { return carries(c, false) }

// neighbours are all nodes under a configuration.
type neighbours struct {
	cluster intent.Cluster
	peers   []intent.Peer
}

// narrow names the devices through which packets of a size do not fit, and tells
// what fits through all.
func (n neighbours) narrow(mtu int) (least int, misfits []string) {
	for _, p := range n.peers {
		for _, u := range p.Underlay {
			fits := u.MTU - n.cluster.Overhead(u.Addr.Addr().Is4())
			if least == 0 || fits < least {
				least = fits
			}
			if fits < mtu && u.MTU > 0 {
				misfits = append(misfits, fmt.Sprintf("%s of %s (%d, %d are left)", u.Device, p.Name, u.MTU, fits))
				break
			}
		}
	}
	return least, misfits
}
