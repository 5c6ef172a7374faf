package uplink

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// Report is what peers and servers need to know about this node. The lease it
// carries is added from the intent held.
type Report struct {
	Underlay     []intent.Underlay // in the order of preference
	External     []netip.Addr
	VTEP         intent.MAC
	Capabilities []string
	Labels       map[string]string
	Kernel       string         // release, as uname -r prints it
	Announced    []netip.Prefix // that the node answers for, beside its lease
	HostPorts    []uint16       // of its own addresses that may be dialled through its tunnel
	Mesh         Mesh
}

// Mesh is how the node's WireGuard devices are reached.
type Mesh struct {
	Slots      []intent.Slot
	Candidates []intent.Candidate // in the node's order
	NAT4, NAT6 intent.NAT
	Relays     []string // names of servers whose relay it is connected to, the quickest first
}

func (m Mesh) equal(o Mesh) bool {
	return slices.Equal(m.Slots, o.Slots) && slices.Equal(m.Candidates, o.Candidates) && m.NAT4 == o.NAT4 && m.NAT6 == o.NAT6 && slices.Equal(m.Relays, o.Relays)
}

func (r Report) equal(o Report) bool {
	return slices.Equal(r.Underlay, o.Underlay) && slices.Equal(r.External, o.External) && r.VTEP == o.VTEP &&
		slices.Equal(r.Capabilities, o.Capabilities) && maps.Equal(r.Labels, o.Labels) && r.Kernel == o.Kernel &&
		slices.Equal(r.Announced, o.Announced) && slices.Equal(r.HostPorts, o.HostPorts) && r.Mesh.equal(o.Mesh)
}

func (r Report) wire(lease []netip.Prefix) *weftv1.NodeReport {
	m := &weftv1.NodeReport{
		Addresses:         intent.EncodeUnderlay(r.Underlay),
		ExternalAddresses: texts(r.External),
		Capabilities:      r.Capabilities,
		Lease:             texts(lease),
		Labels:            r.Labels,
		Kernel:            r.Kernel,
		AnnouncedPrefixes: texts(r.Announced),
		WireguardSlots:    intent.EncodeSlots(r.Mesh.Slots),
		Candidates:        intent.EncodeCandidates(r.Mesh.Candidates),
		Nat4:              string(r.Mesh.NAT4),
		Nat6:              string(r.Mesh.NAT6),
		Relays:            r.Mesh.Relays,
	}
	for _, p := range r.HostPorts {
		m.HostPorts = append(m.HostPorts, uint32(p))
	}
	if r.VTEP != (intent.MAC{}) {
		m.VtepMac = r.VTEP.String()
	}
	return m
}

// Endpoint is one attachment of a pod.
type Endpoint struct {
	ContainerID string
	IfName      string
	Namespace   string
	Pod         string
	Addresses   []netip.Addr
	Labels      map[string]string
	Device      string // the host's end of the veth
	MAC         intent.MAC
	Created     time.Time
}

func (e Endpoint) key(node string) string { return node + "/" + e.ContainerID + "/" + e.IfName }

func (e Endpoint) equal(o Endpoint) bool {
	return e.ContainerID == o.ContainerID && e.IfName == o.IfName && e.Namespace == o.Namespace && e.Pod == o.Pod &&
		slices.Equal(e.Addresses, o.Addresses) && maps.Equal(e.Labels, o.Labels) && e.Device == o.Device &&
		e.MAC == o.MAC && e.Created.Equal(o.Created)
}

// Record is the endpoint as it goes over the wire.
func (e Endpoint) Record(node string) *weftv1.EndpointRecord {
	m := &weftv1.EndpointRecord{
		Key: e.key(node), Namespace: e.Namespace, Pod: e.Pod,
		Addresses: texts(e.Addresses), Labels: e.Labels, Device: e.Device,
	}
	if e.MAC != (intent.MAC{}) {
		m.Mac = e.MAC.String()
	}
	if !e.Created.IsZero() {
		m.CreatedUnix = e.Created.Unix()
	}
	return m
}

func texts[T interface{ String() string }](in []T) []string {
	var out []string
	for _, v := range in {
		out = append(out, v.String())
	}
	return out
}
