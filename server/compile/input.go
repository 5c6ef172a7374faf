package compile

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Bounds on the parts of a peer, so that any Node, Lease and report together
// make an object that an agent reads: see MaxObject and the lists of
// proto/intent.
const (
	maxPart   = intent.MaxObject / 4 // bytes
	maxLabels = 512
)

// Cluster is what a ClusterConfig tells every node.
func Cluster(spec kind.ClusterConfigSpec) (intent.Cluster, error) {
	spec = spec.WithDefaults()
	if spec.MTU < 0 {
		return intent.Cluster{}, fmt.Errorf("mtu %d: at least 0", spec.MTU)
	}
	// The agent's own reading is the only validation there is.
	return intent.DecodeCluster(intent.EncodeCluster(intent.Cluster{
		CIDRs:         spec.ClusterCIDRs,
		ServiceCIDRs:  spec.ServiceCIDRs,
		Backend:       intent.Backend(spec.Backend),
		DirectRouting: spec.DirectRouting,
		VNI:           spec.VNI,
		VXLANPort:     spec.VXLANPort,
		MTU:           spec.MTU,
		Masquerade:    spec.MasqueradeCIDRs(),
		NonMasquerade: spec.NonMasqueradeCIDRs,
		Encryption:    intent.Encryption(spec.Encryption),
		Topology:      intent.Topology(spec.Topology),
		WireGuardPort: spec.WireGuardPort,
		PostQuantum:   spec.PostQuantum,
		KeyDays:       spec.KeyDays,
	}))
}

// lease reads a stored Lease.
func lease(e store.Entry, name string) (intent.Peer, error) {
	var spec kind.LeaseSpec
	if _, err := decode(e, name, &spec); err != nil {
		return intent.Peer{}, err
	}
	if spec.Node != name {
		return intent.Peer{}, fmt.Errorf("spec.node is %q, but a lease is named as its node", spec.Node)
	}
	if len(spec.Prefixes) == 0 {
		return intent.Peer{}, errors.New("spec.prefixes is empty")
	}
	return part(intent.Peer{Name: name, Lease: spec.Prefixes, Draining: spec.Draining})
}

// report reads what a node last said of itself.
func report(e store.Entry, name string) (intent.Peer, error) {
	var spec kind.ReportSpec
	if _, err := decode(e, name, &spec); err != nil {
		return intent.Peer{}, err
	}
	p := intent.Peer{Name: name, Labels: spec.Labels}
	for _, a := range spec.Addresses {
		if a.MTU < 0 {
			return intent.Peer{}, fmt.Errorf("address %v: MTU %d", a.Address, a.MTU)
		}
		p.Underlay = append(p.Underlay, intent.Underlay{Addr: a.Address, Device: a.Device, MTU: a.MTU})
	}
	var err error
	if p.VTEP, err = intent.ParseMAC(spec.VTEP); err != nil {
		return intent.Peer{}, err
	}
	if err := meshOf(&p, spec); err != nil {
		return intent.Peer{}, err
	}
	return part(p)
}

// meshOf brings in what a node said of its WireGuard.
func meshOf(p *intent.Peer, spec kind.ReportSpec) error {
	for _, s := range spec.Slots {
		key, err := intent.ParseKey(s.Key)
		if err != nil {
			return err
		}
		p.Slots = append(p.Slots, intent.Slot{Slot: s.Slot, Key: key, Port: s.Port, Leaving: s.Leaving})
	}
	for _, c := range spec.Candidates {
		p.Candidates = append(p.Candidates, intent.Candidate{Addr: c.Address, Slot: c.Slot, Source: c.Source})
	}
	p.NAT4, p.NAT6, p.Relays = spec.NAT4, spec.NAT6, spec.Relays
	has := func(capability string) bool { return slices.Contains(spec.Capabilities, capability) }
	p.Preshared = has(intent.CapabilityShared)
	p.NoMesh = !has(intent.CapabilityMesh)
	p.NoDevices = !p.NoMesh && !has(intent.CapabilityKernel) && !has(intent.CapabilityGo)
	return nil
}

// pause reads that healing shall be paused on a node.
func pause(e store.Entry, name string) (intent.Pause, error) {
	var spec kind.PauseSpec
	if _, err := decode(e, name, &spec); err != nil {
		return intent.Pause{}, err
	}
	return intent.DecodePause(intent.EncodePause(intent.Pause{
		ID: spec.ID, For: time.Duration(spec.Seconds) * time.Second, Reason: spec.Reason, By: spec.By,
	}))
}

// egressPolicy reads an EgressPolicy, held to what an agent reads.
func egressPolicy(e store.Entry, name string) (egress.Policy, error) {
	var spec kind.EgressPolicySpec
	if _, err := decode(e, name, &spec); err != nil {
		return egress.Policy{}, err
	}
	p, err := spec.Policy(name)
	if err != nil {
		return egress.Policy{}, err
	}
	b := p.Encode()
	if len(b) > intent.MaxObject {
		return egress.Policy{}, fmt.Errorf("%d bytes: at most %d", len(b), intent.MaxObject)
	}
	return egress.DecodePolicy(b)
}

// node reads what operators say of a node.
func node(e store.Entry, name string) (intent.Peer, error) {
	var spec kind.NodeSpec
	o, err := decode(e, name, &spec)
	if err != nil {
		return intent.Peer{}, err
	}
	return part(intent.Peer{Name: name, Labels: o.Metadata.Labels})
}

// cluster reads the ClusterConfig.
func cluster(e store.Entry) (intent.Cluster, error) {
	var spec kind.ClusterConfigSpec
	if _, err := decode(e, kind.DefaultName, &spec); err != nil {
		return intent.Cluster{}, err
	}
	return Cluster(spec)
}

// carriage reads how packets travel until the ClusterConfig's way is reached.
func carriage(e store.Entry) (intent.Cluster, error) {
	var spec kind.CarriageSpec
	if _, err := decode(e, kind.DefaultName, &spec); err != nil {
		return intent.Cluster{}, err
	}
	c := intent.Cluster{Receive: spec.Receive, Behind: spec.Behind}.By(spec.Send)
	return intent.DecodeCluster(intent.EncodeCluster(c))
}

func decode(e store.Entry, name string, spec any) (kind.Object, error) {
	o, err := kind.Decode(e.Value, spec)
	if err != nil {
		return o, err
	}
	if o.Metadata.Name != name {
		return o, fmt.Errorf("metadata.name is %q, but it is stored as %q", o.Metadata.Name, name)
	}
	return o, nil
}

// part holds a piece of a peer to its bounds, and to what an agent reads.
func part(p intent.Peer) (intent.Peer, error) {
	if len(p.Labels) > maxLabels {
		return intent.Peer{}, fmt.Errorf("%d labels: at most %d", len(p.Labels), maxLabels)
	}
	b := intent.EncodePeer(p)
	if len(b) > maxPart {
		return intent.Peer{}, fmt.Errorf("%d bytes: at most %d", len(b), maxPart)
	}
	return intent.DecodePeer(b)
}
