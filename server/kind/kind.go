package kind

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/store"
)

// APIVersion of every kind.
const APIVersion = "weft/v1"

// Names of the kinds.
const (
	ClusterConfig = "ClusterConfig"
	Node          = "Node"
	Lease         = "Lease"
	EgressPolicy  = "EgressPolicy"
	Endpoint      = "Endpoint" // read-only, from observations

	// Report is stored beside the kinds below store.Intent, because peers need
	// it; operators see it as status of Node.
	Report = "report"
	// Pause is stored there too: healing shall be paused on a node, named as it.
	Pause = "pause"
	// Carriage is stored there too, named DefaultName: how packets travel while the
	// fabric changes from one carrier to another.
	Carriage = "carriage"
)

// DefaultName is the name of the only ClusterConfig.
const DefaultName = "default"

// Object is one object as it is stored, JSON below store.Intent.
type Object struct {
	Schema     int             `json:"schema"`
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Metadata   Metadata        `json:"metadata"`
	Spec       json.RawMessage `json:"spec"`
}

// Metadata names an object.
type Metadata struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	CreatedUnix int64             `json:"createdUnix,omitempty"`
	Generation  int64             `json:"generation,omitempty"` // how often it was changed
}

// ClusterConfigSpec is everything that holds for the whole cluster.
type ClusterConfigSpec struct {
	ClusterCIDRs       []netip.Prefix `json:"clusterCIDRs"`
	ServiceCIDRs       []netip.Prefix `json:"serviceCIDRs,omitempty"`
	NodeCIDRMaskSize4  int            `json:"nodeCIDRMaskSizeIPv4,omitempty"` // default 24
	NodeCIDRMaskSize6  int            `json:"nodeCIDRMaskSizeIPv6,omitempty"` // default 64
	Backend            string         `json:"backend,omitempty"`              // default vxlan
	DirectRouting      bool           `json:"directRouting,omitempty"`
	VNI                uint32         `json:"vni,omitempty"`        // default 4096
	VXLANPort          uint16         `json:"vxlanPort,omitempty"`  // default 8472
	MTU                int            `json:"mtu,omitempty"`        // bytes; 0 derives it
	Masquerade         string         `json:"masquerade,omitempty"` // auto (IPv4, and IPv6 of ULA ranges), always, never
	NonMasqueradeCIDRs []netip.Prefix `json:"nonMasqueradeCIDRs,omitempty"`
	MaxPrefixes        int            `json:"maxPrefixesPerNode,omitempty"` // of a family, given by itself; default 4
	EgressSelectorMode string         `json:"egressSelectorMode,omitempty"` // disabled, agent, pod, cluster; default agent
	EgressFallback     string         `json:"egressFallback,omitempty"`     // closed, direct; default closed
	Encryption         string         `json:"encryption,omitempty"`         // of backend auto: never, untrusted, always; default untrusted
	Topology           string         `json:"topology,omitempty"`           // full, site-gateways; default full
	WireGuardPort      uint16         `json:"wireguardPort,omitempty"`      // of slot 0, UDP; slot 1 has the next; default 51820
	KeyDays            int            `json:"keyDays,omitempty"`            // after which a node changes its WireGuard key; 0: never
	PostQuantum        bool           `json:"postQuantum,omitempty"`        // pairs agree on pre-shared keys
}

// NodeSpec is what operators say of a node. Its labels are in the metadata.
type NodeSpec struct{}

// LeaseSpec is the subnets of one node, one prefix a family or more. Applied
// before the node joins, it is a reservation.
type LeaseSpec struct {
	Node     string         `json:"node"`
	Prefixes []netip.Prefix `json:"prefixes"`
	Draining []netip.Prefix `json:"draining,omitempty"` // of Prefixes: pods get no address of these, and they are given back when empty
}

// ReportSpec is what a node last said of itself, stored for its peers.
type ReportSpec struct {
	Addresses []ReportAddress   `json:"addresses"`
	External  []netip.Addr      `json:"external,omitempty"`
	VTEP      string            `json:"vtep,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	Announced []netip.Prefix    `json:"announced,omitempty"` // that it answers for; a lease of another node beats it
	HostPorts []uint16          `json:"hostPorts,omitempty"` // of its own addresses that may be dialled through it, beside those of every node

	Capabilities []string          `json:"capabilities,omitempty"` // of its kernel and agent: see intent.CapabilityMesh
	Slots        []ReportSlot      `json:"wireguard,omitempty"`
	Candidates   []ReportCandidate `json:"candidates,omitempty"` // in the node's order, then those that a server has seen
	NAT4         intent.NAT        `json:"nat4,omitempty"`
	NAT6         intent.NAT        `json:"nat6,omitempty"`
	Relays       []string          `json:"relays,omitempty"` // names of servers whose relay it is connected to, the quickest first
}

// ReportSlot is one WireGuard device of a node.
type ReportSlot struct {
	Slot    uint8  `json:"slot"`
	Key     string `json:"key"` // public, base64
	Port    uint16 `json:"port"`
	Leaving bool   `json:"leaving,omitempty"`
}

// ReportCandidate is where a WireGuard device of a node may be reached.
type ReportCandidate struct {
	Address netip.AddrPort `json:"address"`
	Slot    uint8          `json:"slot,omitempty"`
	Source  intent.Source  `json:"source"`
}

// PauseSpec asks a node not to heal for a while.
type PauseSpec struct {
	ID        string `json:"id"`
	Seconds   uint32 `json:"seconds"`
	UntilUnix int64  `json:"untilUnix"` // by the server's clock: when it is taken away
	Reason    string `json:"reason,omitempty"`
	By        string `json:"by,omitempty"`
}

// CarriageSpec is how packets travel between nodes now, which the ClusterConfig says
// only in the end.
type CarriageSpec struct {
	Send     intent.Carrier   `json:"send"`
	Receive  []intent.Carrier `json:"receive,omitempty"`  // taken as well
	Switched bool             `json:"switched,omitempty"` // Receive is what was sent by before; else what will be
	Behind   []string         `json:"behind,omitempty"`   // nodes that may not receive by Send yet, sorted
	Unaware  []string         `json:"unaware,omitempty"`  // likewise by Receive, when a change was taken back
	AtUnix   int64            `json:"atUnix,omitempty"`   // when this was written, seconds since 1970
}

// ReportAddress is one underlay address of a node.
type ReportAddress struct {
	Address netip.Prefix `json:"address"` // with its link's length, not masked
	Device  string       `json:"device"`
	MTU     int          `json:"mtu"` // bytes
}

// Key is where an object is stored.
func Key(kind, namespace, name string) string {
	return store.Intent + kind + "/" + namespace + "/" + name
}

// ParseKey takes Key apart.
func ParseKey(key string) (kind, namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(key, store.Intent)
	parts := strings.SplitN(rest, "/", 3)
	if !ok || len(parts) != 3 {
		return "", "", "", false
	}
	return parts[0], parts[1], parts[2], true
}

// Encode is the stored form of an object with a spec.
func Encode(kind string, meta Metadata, spec any) ([]byte, error) {
	raw, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("kind: %s/%s: %w", kind, meta.Name, err)
	}
	return json.Marshal(Object{Schema: schema.Object.Version(), APIVersion: APIVersion, Kind: kind, Metadata: meta, Spec: raw})
}

// Decode reads a stored object and its spec.
func Decode(b []byte, spec any) (Object, error) {
	var o Object
	if err := json.Unmarshal(b, &o); err != nil {
		return Object{}, fmt.Errorf("kind: stored object: %w", err)
	}
	if err := schema.Object.Check(o.Kind+"/"+o.Metadata.Name, o.Schema); err != nil {
		return Object{}, fmt.Errorf("kind: %w", err)
	}
	if err := json.Unmarshal(o.Spec, spec); err != nil {
		return Object{}, fmt.Errorf("kind: %s/%s: spec: %w", o.Kind, o.Metadata.Name, err)
	}
	return o, nil
}
