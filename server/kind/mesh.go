package kind

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/near"
)

// native is K3s's name for backend wireguard, which a flag may say. What is stored has one
// name, so that what is written here is what is read back.
const native = "wireguard-native"

// accepted is what may stand in a field instead of a word, the likeliest first.
func accepted(word string, known []string) string {
	list := "accepted: " + strings.Join(known, ", ")
	if word == native && slices.Contains(known, string(intent.WireGuard)) {
		return "it is K3s's word for wireguard, write that; " + list
	}
	if meant, ok := near.Name(word, known); ok {
		return fmt.Sprintf("did you mean %s; %s", meant, list)
	}
	return list
}

// validateWords refuses words that a field does not know.
func (s ClusterConfigSpec) validateWords(f *findings) {
	if !slices.Contains(backends, s.Backend) {
		f.add("spec.backend", "%q is not a backend of this release; %s", s.Backend, accepted(s.Backend, backends))
	}
	for _, w := range []struct {
		field, word string
		known       []string
	}{
		{"spec.masquerade", s.Masquerade, masquerades},
		{"spec.egressSelectorMode", s.EgressSelectorMode, egressModes},
		{"spec.egressFallback", s.EgressFallback, fallbacks},
		{"spec.encryption", s.Encryption, encryptions},
		{"spec.topology", s.Topology, topologies},
	} {
		if !slices.Contains(w.known, w.word) {
			f.add(w.field, "%q is not accepted; %s", w.word, accepted(w.word, w.known))
		}
	}
}

// validatePorts refuses UDP ports that are taken, by each other too. WireGuard has
// two: the second slot's is the next.
func (s ClusterConfigSpec) validatePorts(f *findings) {
	next := s.WireGuardPort + 1
	if what, taken := udpPorts[s.VXLANPort]; taken {
		f.add("spec.vxlanPort", "%d is %s; take another, such as %d", s.VXLANPort, what, DefaultVXLANPort)
	}
	switch at := "spec.wireguardPort"; {
	case next == 0:
		f.add(at, "%d is out of bounds: the second device has the next port; accepted: 1 to 65534", s.WireGuardPort)
	case udpPorts[s.WireGuardPort] != "":
		f.add(at, "%d is %s; take another, such as %d", s.WireGuardPort, udpPorts[s.WireGuardPort], DefaultWireGuardPort)
	case udpPorts[next] != "":
		f.add(at, "the second device has the next port, and %d is %s; take another, such as %d", next, udpPorts[next], DefaultWireGuardPort)
	case s.VXLANPort != s.WireGuardPort && s.VXLANPort != next:
	case s.WireGuardPort == DefaultWireGuardPort:
		f.add("spec.vxlanPort", "%d is WireGuard's; take another, such as %d", s.VXLANPort, DefaultVXLANPort)
	default:
		f.add(at, "WireGuard has %d and %d, and VXLAN %d; take another, such as %d", s.WireGuardPort, next, s.VXLANPort, DefaultWireGuardPort)
	}
}

// validateMesh refuses what contradicts itself: encryption that is asked for is
// never promised where nothing encrypts.
func (s ClusterConfigSpec) validateMesh(f *findings) {
	clear := s.Backend == string(intent.VXLAN) || s.Backend == string(intent.HostGW)
	switch {
	case s.Encryption == string(intent.EncryptAlways) && clear:
		f.add("spec.encryption", "always, and backend %s sends in the clear; accepted: backend wireguard, or auto, with it", s.Backend)
	case s.Encryption == string(intent.EncryptNever) && (s.Backend == string(intent.WireGuard) || s.Backend == string(intent.Tailnet)):
		f.add("spec.encryption", "never, and backend %s encrypts everything; accepted: backend auto with it, or encryption untrusted", s.Backend)
	}
	meshed := s.Backend == string(intent.WireGuard) || s.Backend == string(intent.Auto)
	switch { // a promise of secrecy that nobody keeps is worse than none
	case s.PostQuantum && !meshed:
		f.add("spec.postQuantum", "true, and backend %s encrypts nothing; accepted: backend wireguard or auto with it, or false", s.Backend)
	case s.PostQuantum && s.Encryption == string(intent.EncryptNever):
		f.add("spec.postQuantum", "true, and encryption never encrypts nothing; accepted: encryption untrusted or always with it, or false")
	}
	if s.Topology == string(intent.TopologyGateways) && !meshed {
		f.add("spec.topology", "site-gateways, and with backend %s no pair chooses its way; accepted: backend wireguard or auto with it, or full", s.Backend)
	}
	if s.KeyDays < 0 || s.KeyDays > maxKeyDays {
		f.add("spec.keyDays", "%d is out of bounds; accepted: 1 to %d, or 0 for never", s.KeyDays, maxKeyDays)
	}
}

// validateTailnet refuses ranges from which a tailnet gives its members addresses of
// their own: its routes to them come before the fabric's.
func (s ClusterConfigSpec) validateTailnet(f *findings) {
	if s.Backend != string(intent.Tailnet) {
		return
	}
	for _, o := range intent.TailnetOverlaps(s.ClusterCIDRs, s.ServiceCIDRs) {
		f.add(o.Field, "%v overlaps %v, from which a tailnet gives its members their addresses; take another range, or another backend", o.Prefix, o.Range)
	}
}
