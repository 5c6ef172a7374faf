package kind

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/preshared"
	"github.com/weft-net/weft/proto/relay"
)

// Defaults of ClusterConfigSpec.
const (
	DefaultMaskSize4  = 24
	DefaultMaskSize6  = 64
	DefaultBackend    = "vxlan"
	DefaultVNI        = 4096
	DefaultVXLANPort  = 8472 // Linux's, not IANA's 4789: what firewalls around K3s already pass
	DefaultMasquerade = MasqueradeAuto

	DefaultMaxPrefixes = 4

	DefaultEgressMode     = EgressAgent
	DefaultEgressFallback = FallbackClosed

	DefaultEncryption    = string(intent.EncryptUntrusted)
	DefaultTopology      = string(intent.TopologyFull)
	DefaultWireGuardPort = 51820 // as everybody's
)

// Values of ClusterConfigSpec.EgressSelectorMode, with K3s's meaning: what the
// control plane reaches through agents' tunnels, and not by dialling it.
const (
	EgressDisabled = "disabled" // nothing
	EgressAgent    = "agent"    // nodes' own addresses: kubelets
	EgressPod      = "pod"      // and pods: what is leased or announced
	EgressCluster  = "cluster"  // and endpoints wherever they are, and services
)

// Values of ClusterConfigSpec.EgressFallback: what becomes of a dial whose node has
// no tunnel.
const (
	FallbackClosed = "closed" // it is refused
	FallbackDirect = "direct" // the server dials by itself
)

// Values of ClusterConfigSpec.Masquerade.
const (
	MasqueradeAuto   = "auto" // IPv4, and IPv6 of ULA ranges (RFC 4193)
	MasqueradeAlways = "always"
	MasqueradeNever  = "never"
)

// Bounds of ClusterConfigSpec.
const (
	maxCIDRs     = 32
	maxVNI       = 1<<24 - 1 // RFC 7348, section 5
	maxMTU       = 65535
	minMTU4      = 576  // RFC 791, section 3.1: what every host must take
	minMTU6      = 1280 // RFC 8200, section 5
	longestMask4 = 30   // two pods
	longestMask6 = 126
	maxKeyDays   = 3650

	flannelVNI = 1
)

// udpPorts are those that the fabric, or every host, needs for something else.
var udpPorts = map[uint16]string{
	53: "DNS's", 67: "DHCP's", 68: "DHCP's", 123: "NTP's", 546: "DHCPv6's", 547: "DHCPv6's",
	7443: "the servers' echo", 7444: "the servers' echo",
	preshared.Port: "that of agents which agree on pre-shared keys", relay.Port: "that of nodes which relay",
}

var (
	backends    = []string{"vxlan", "host-gw", "wireguard", "auto", "tailscale", "none"}
	encryptions = []string{string(intent.EncryptNever), string(intent.EncryptUntrusted), string(intent.EncryptAlways)}
	topologies  = []string{string(intent.TopologyFull), string(intent.TopologyGateways)}
	egressModes = []string{EgressDisabled, EgressAgent, EgressPod, EgressCluster}
	fallbacks   = []string{FallbackClosed, FallbackDirect}
	masquerades = []string{MasqueradeAuto, MasqueradeAlways, MasqueradeNever}
	ula         = netip.MustParsePrefix("fc00::/7") // RFC 4193
)

// WithDefaults fills what is not given.
func (s ClusterConfigSpec) WithDefaults() ClusterConfigSpec {
	s.NodeCIDRMaskSize4 = cmp.Or(s.NodeCIDRMaskSize4, DefaultMaskSize4)
	s.NodeCIDRMaskSize6 = cmp.Or(s.NodeCIDRMaskSize6, DefaultMaskSize6)
	s.Backend = cmp.Or(s.Backend, DefaultBackend)
	s.VNI = cmp.Or(s.VNI, DefaultVNI)
	s.VXLANPort = cmp.Or(s.VXLANPort, DefaultVXLANPort)
	s.Masquerade = cmp.Or(s.Masquerade, DefaultMasquerade)
	s.MaxPrefixes = cmp.Or(s.MaxPrefixes, DefaultMaxPrefixes)
	s.EgressSelectorMode = cmp.Or(s.EgressSelectorMode, DefaultEgressMode)
	s.EgressFallback = cmp.Or(s.EgressFallback, DefaultEgressFallback)
	s.Encryption = cmp.Or(s.Encryption, DefaultEncryption)
	s.Topology = cmp.Or(s.Topology, DefaultTopology)
	s.WireGuardPort = cmp.Or(s.WireGuardPort, DefaultWireGuardPort)
	return s
}

// MaskSize is the length of the prefix that a node leases of a family.
func (s ClusterConfigSpec) MaskSize(is4 bool) int {
	s = s.WithDefaults()
	if is4 {
		return s.NodeCIDRMaskSize4
	}
	return s.NodeCIDRMaskSize6
}

// MasqueradeCIDRs are the cluster CIDRs whose pods are masqueraded when their
// traffic leaves the cluster.
func (s ClusterConfigSpec) MasqueradeCIDRs() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s.ClusterCIDRs {
		switch s.WithDefaults().Masquerade {
		case MasqueradeAlways:
			out = append(out, p)
		case MasqueradeAuto:
			if p.Addr().Is4() || ipam.Contains(ula, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// Validate checks the spec by itself, with defaults for what is not given. The
// error is FieldErrors.
func (s ClusterConfigSpec) Validate() error {
	s = s.WithDefaults()
	f := &findings{object: ClusterConfig + "/" + DefaultName}
	s.validateRanges(f)
	s.validateMasks(f)
	s.validateWords(f)
	if s.VNI > maxVNI {
		f.add("spec.vni", "%d is out of bounds; accepted: 1 to %d", s.VNI, maxVNI)
	}
	if s.VNI == flannelVNI && s.VXLANPort == DefaultVXLANPort {
		f.add("spec.vni", "%d on UDP %d is Flannel's, the two would receive each other's packets; take another VNI or vxlanPort", s.VNI, s.VXLANPort)
	}
	if s.MaxPrefixes < 1 || s.MaxPrefixes > MaxLeasePrefixes/2 {
		f.add("spec.maxPrefixesPerNode", "%d is out of bounds; accepted: 1, for no further prefix, to %d", s.MaxPrefixes, MaxLeasePrefixes/2)
	}
	s.validatePorts(f)
	s.validateMesh(f)
	s.validateTailnet(f)
	s.validateMTU(f)
	return f.err()
}

func (s ClusterConfigSpec) validateRanges(f *findings) {
	if len(s.ClusterCIDRs) == 0 {
		f.add("spec.clusterCIDRs", "is empty; give a range a family, such as 10.42.0.0/16 and fd42:42::/48")
	}
	type placed struct {
		field  string
		prefix netip.Prefix
	}
	var before []placed
	for _, list := range []struct {
		name    string
		in      []netip.Prefix
		special bool // ranges that mean something else are refused
	}{
		{"spec.clusterCIDRs", s.ClusterCIDRs, true},
		{"spec.serviceCIDRs", s.ServiceCIDRs, true},
		{"spec.nonMasqueradeCIDRs", s.NonMasqueradeCIDRs, false},
	} {
		if len(list.in) > maxCIDRs {
			f.add(list.name, "has %d ranges; at most %d are accepted", len(list.in), maxCIDRs)
			continue
		}
		for i, p := range list.in {
			here := placed{fmt.Sprintf("%s[%d]", list.name, i), p}
			if !checkPrefix(f, here.field, p, list.special) || !list.special {
				continue
			}
			if k := slices.IndexFunc(before, func(b placed) bool { return b.prefix.Overlaps(p) }); k >= 0 {
				f.add(here.field, "%v overlaps %s %v; give ranges that do not overlap", p, before[k].field, before[k].prefix)
			}
			before = append(before, here)
		}
	}
}

// checkPrefix refuses what no list of ranges may hold.
func checkPrefix(f *findings, field string, p netip.Prefix, special bool) bool {
	switch {
	case !p.IsValid():
		f.add(field, "is not a range; write one as 10.42.0.0/16 or fd42:42::/48")
	case p.Addr().Is4In6():
		f.add(field, "%v is IPv4 mapped into IPv6; write it as IPv4", p)
	case p != p.Masked():
		f.add(field, "%v has host bits; did you mean %v", p, p.Masked())
	case special && ipam.Special(p) != nil:
		f.add(field, "%v; give a private or global unicast range", ipam.Special(p))
	default:
		return true
	}
	return false
}

func (s ClusterConfigSpec) validateMasks(f *findings) {
	for _, m := range []struct {
		field         string
		is4           bool
		size, longest int
	}{
		{"spec.nodeCIDRMaskSizeIPv4", true, s.NodeCIDRMaskSize4, longestMask4},
		{"spec.nodeCIDRMaskSizeIPv6", false, s.NodeCIDRMaskSize6, longestMask6},
	} {
		shortest := 1
		var of netip.Prefix
		for _, p := range s.ClusterCIDRs {
			if p.Addr().Is4() == m.is4 && p.Bits() > shortest {
				shortest, of = p.Bits(), p
			}
		}
		switch {
		case m.size >= shortest && m.size <= m.longest:
		case !of.IsValid():
			f.add(m.field, "%d is out of bounds; accepted: %d to %d", m.size, shortest, m.longest)
		case shortest > m.longest:
			f.add("spec.clusterCIDRs", "%v is too small for the lease of a node; give a /%d or shorter", of, m.longest)
		default:
			f.add(m.field, "no /%d fits in %v; accepted: %d to %d", m.size, of, shortest, m.longest)
		}
	}
}

func (s ClusterConfigSpec) validateMTU(f *findings) {
	least, why := minMTU4, "IPv4 (RFC 791)"
	if slices.ContainsFunc(s.ClusterCIDRs, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		least, why = minMTU6, "IPv6 (RFC 8200)"
	}
	if s.MTU != 0 && (s.MTU < least || s.MTU > maxMTU) {
		f.add("spec.mtu", "%d is out of bounds; accepted: %d, which %s needs, to %d, or 0 to derive it from the uplink", s.MTU, least, why, maxMTU)
	}
}
