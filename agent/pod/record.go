package pod

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/schema"
)

const (
	// maxRecord is the size in bytes of the largest record read.
	maxRecord = 64 << 10
	// maxIfName is the longest name of a device in bytes (IFNAMSIZ less its end).
	maxIfName = 15
)

// ID names an attachment, as the CNI specification does.
type ID struct {
	ContainerID string
	IfName      string // of the pod's end
}

// String is <container id>/<ifname>.
func (id ID) String() string { return id.ContainerID + "/" + id.IfName }

// HostDev is the name of the host's end of the attachment's veth: wf and 11
// hexadecimal digits of the SHA-256 of the ID.
func (id ID) HostDev() string {
	sum := sha256.Sum256([]byte(id.String()))
	return datapath.PodPrefix + hex.EncodeToString(sum[:])[:11]
}

// Record is all that is known of one attachment.
type Record struct {
	Schema      int    `json:"schema"`
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
	Network     string `json:"network"` // the name in the CNI configuration
	Boot        string `json:"boot"`    // boot id of the kernel that holds it
	NetNS       string `json:"netns"`   // path
	NSID        NSID   `json:"nsid"`

	HostDev string       `json:"hostDev"`
	HostMAC string       `json:"hostMAC"`
	MAC     string       `json:"mac"` // of the pod's end
	MTU     int          `json:"mtu"` // bytes
	Addrs   []netip.Addr `json:"addrs"`
	// Gateway4 is the node's fabric address at the time of ADD.
	Gateway4 netip.Addr `json:"gateway4,omitzero"`

	HostPorts []HostPort        `json:"hostPorts,omitempty"`
	Bandwidth Bandwidth         `json:"bandwidth,omitzero"`
	Labels    map[string]string `json:"labels,omitempty"`
	Namespace string            `json:"namespace,omitempty"` // K8S_POD_NAMESPACE
	Pod       string            `json:"pod,omitempty"`       // K8S_POD_NAME
	UID       string            `json:"uid,omitempty"`       // K8S_POD_UID
	Created   time.Time         `json:"created"`
	// Sum is the CRC-32C (RFC 3720, 12.1) of the record without it: a flipped bit
	// would make another pod's address of an address.
	Sum string `json:"sum"`
}

// HostPort is one port of the node that leads to the pod.
type HostPort struct {
	HostIP        netip.Addr `json:"hostIP,omitzero"` // zero: every address of the node
	HostPort      uint16     `json:"hostPort"`
	ContainerPort uint16     `json:"containerPort"`
	Protocol      string     `json:"protocol"` // tcp, udp, sctp
}

// String is the port as an operator names it: tcp 10.0.0.1:8080.
func (h HostPort) String() string {
	if h.HostIP.IsValid() {
		return fmt.Sprintf("%s %v", h.Protocol, netip.AddrPortFrom(h.HostIP, h.HostPort))
	}
	return fmt.Sprintf("%s %d", h.Protocol, h.HostPort)
}

// clashes tells whether two ports of the node would catch the same packets.
func (h HostPort) clashes(o HostPort) bool {
	return h.Protocol == o.Protocol && h.HostPort == o.HostPort &&
		(h.HostIP == o.HostIP || !h.HostIP.IsValid() || !o.HostIP.IsValid())
}

// Bandwidth limits a pod, in bits per second and bits; 0 is no limit. Ingress is
// towards the pod.
type Bandwidth struct {
	IngressRate  uint64 `json:"ingressRate,omitempty"`
	IngressBurst uint64 `json:"ingressBurst,omitempty"`
	EgressRate   uint64 `json:"egressRate,omitempty"`
	EgressBurst  uint64 `json:"egressBurst,omitempty"`
}

// ID returns the attachment's name.
func (r Record) ID() ID { return ID{r.ContainerID, r.IfName} }

// Who names the pod for people.
func (r Record) Who() string {
	if r.Pod != "" {
		return fmt.Sprintf("%s/%s (container %s)", r.Namespace, r.Pod, r.ContainerID)
	}
	return "container " + r.ContainerID + " " + r.IfName
}

// has tells whether the pod has an address of a family.
func (r Record) has(is4 bool) bool {
	return slices.ContainsFunc(r.Addrs, func(a netip.Addr) bool { return a.Is4() == is4 })
}

func (r Record) encode() ([]byte, error) {
	r.Sum = r.sum()
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	if len(b) >= maxRecord {
		return nil, fmt.Errorf("a record of %d bytes; at most %d fit: give the pod fewer labels", len(b), maxRecord)
	}
	return append(b, '\n'), nil
}

// sum is what Sum must be.
func (r Record) sum() string {
	r.Sum = ""
	b, _ := json.Marshal(r) // fails for no value of its fields
	return fmt.Sprintf("%08x", crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// decode reads a record that was found under the name of a device.
func decode(b []byte, hostDev string) (Record, error) {
	if len(b) > maxRecord {
		return Record{}, fmt.Errorf("%d bytes; at most %d are read", len(b), maxRecord)
	}
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return Record{}, err
	}
	if err := schema.Attachment.Check("the record of "+hostDev, r.Schema); err != nil {
		return Record{}, err
	}
	switch {
	case r.Sum != r.sum():
		return Record{}, fmt.Errorf("checksum %q, want %q", r.Sum, r.sum())
	case r.HostDev != hostDev || r.ID().HostDev() != hostDev:
		return Record{}, fmt.Errorf("is about device %q of %v, not %s", r.HostDev, r.ID(), hostDev)
	case len(r.Addrs) == 0 || slices.ContainsFunc(r.Addrs, func(a netip.Addr) bool { return !a.IsValid() || a.Zone() != "" }):
		return Record{}, fmt.Errorf("addresses %v", r.Addrs)
	}
	for _, mac := range []string{r.MAC, r.HostMAC} {
		if m, err := intent.ParseMAC(mac); err != nil || m == (intent.MAC{}) {
			return Record{}, fmt.Errorf("mac %q", mac)
		}
	}
	return r, nil
}

// mac parses a MAC that decode or ADD has checked.
func mac(s string) intent.MAC {
	m, _ := intent.ParseMAC(s)
	return m
}

// salvage finds what looks like an address in a file that cannot be read. A cut or
// a flipped bit makes another one of it, so this is a guess.
func salvage(b []byte) []netip.Addr {
	var out []netip.Addr
	for _, word := range strings.FieldsFunc(string(b), func(c rune) bool {
		return !strings.ContainsRune("0123456789abcdefABCDEF:.", c)
	}) {
		if a, err := netip.ParseAddr(word); err == nil && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// order sorts records by namespace, pod, container and interface.
func order(a, b Record) int {
	return cmp.Or(
		strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Pod, b.Pod),
		strings.Compare(a.ContainerID, b.ContainerID), strings.Compare(a.IfName, b.IfName))
}
