package intent

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// The backends whose pairs choose their own way: see Cluster.Ways.
const (
	WireGuard Backend = "wireguard" // every pair through WireGuard
	Auto      Backend = "auto"      // the best way that encryption permits
)

// Labels of nodes that say where they stand, and what they do for others.
const (
	SiteLabel  = "weft/site"  // nodes of one site trust the network between them
	RelayLabel = "weft/relay" // "true": the node carries packets of other pairs
)

// Encryption bounds what backend auto may use.
type Encryption string

// Which pairs must be encrypted.
const (
	EncryptNever     Encryption = "never"
	EncryptUntrusted Encryption = "untrusted" // those whose nodes are not of one site
	EncryptAlways    Encryption = "always"
)

// Topology is which pairs have a way of their own.
type Topology string

// Topologies. With gateways, nodes of different sites meet over nodes that carry
// RelayLabel.
const (
	TopologyFull     Topology = "full"
	TopologyGateways Topology = "site-gateways"
)

// Slots is how many WireGuard devices a node has at most. Slot 0 of a node talks to
// slot 0 of its peers only, so that a pair that moves leaves both devices at once and
// no device ever holds two keys of one peer.
const Slots = 2

// Key is a WireGuard public key (Curve25519, RFC 7748).
type Key [32]byte

// String is base64, as wg(8) prints it.
func (k Key) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// ParseKey reads what String writes.
func ParseKey(s string) (Key, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(Key{}) {
		return Key{}, fmt.Errorf("intent: %.60q is not a WireGuard public key: %d bytes in base64", s, len(Key{}))
	}
	return Key(b), nil
}

// Slot is one WireGuard device of a node.
type Slot struct {
	Slot    uint8
	Key     Key
	Port    uint16 // UDP
	Leaving bool   // the key is to go: pairs move to the other slot
}

// Source is how a candidate is known.
type Source string

// Sources of candidates.
const (
	FromInterface Source = "interface" // an address of the node's own
	FromExternal  Source = "external"  // --node-external-ip
	FromEcho      Source = "echo"      // what a server's echo answered to the device's own port
	FromServer    Source = "seen"      // the node's address as a server sees it, with the device's port
	FromPeer      Source = "peer"      // what a peer has seen
)

// Candidate is where a WireGuard device of a node may be reached.
type Candidate struct {
	Addr   netip.AddrPort
	Slot   uint8
	Source Source
}

// NAT is what stands between a node and the servers' echo, in one family.
type NAT string

// Classes of NAT. The zero value is not known.
const (
	NATNone    NAT = "none"
	NATEasy    NAT = "easy"    // the same outer address and port for every destination (RFC 4787, endpoint-independent mapping)
	NATHard    NAT = "hard"    // another for each destination
	NATBlocked NAT = "blocked" // no answer
)

// Hides tells whether a node's own address is known not to be where packets from afar
// reach it.
func (n NAT) Hides() bool { return n == NATEasy || n == NATHard || n == NATBlocked }

// Capabilities that a node reports.
const (
	CapabilityMesh   = "mesh"             // its agent knows backends whose pairs choose their way
	CapabilityKernel = "wireguard-kernel" // WireGuard devices in the kernel
	CapabilityGo     = "wireguard-go"     // or in a process
	CapabilityShared = "preshared"        // its agent agrees on pre-shared keys with its peers
)

// Bounds of a peer's mesh.
const (
	maxCandidates = 64
	maxRelays     = 16
)

// Meshed tells whether pairs choose their way: the fabric sends, or receives as
// well, by a backend of which that is true.
func (c Cluster) Meshed() bool {
	return slices.ContainsFunc(append([]Carrier{c.Carrier()}, c.Receive...), Carrier.Meshed)
}

// Meshed tells whether pairs choose their way with it.
func (k Carrier) Meshed() bool { return k.Backend == WireGuard || k.Backend == Auto }

// Site is the node's, or nothing.
func (p Peer) Site() string { return p.Labels[SiteLabel] }

// Relaying tells whether the node carries packets of other pairs.
func (p Peer) Relaying() bool { return p.Labels[RelayLabel] == "true" }

// SlotOf returns a WireGuard device of the node.
func (p Peer) SlotOf(slot uint8) (Slot, bool) {
	for _, s := range p.Slots {
		if s.Slot == slot {
			return s, true
		}
	}
	return Slot{}, false
}

// NATOf is the class of a family.
func (p Peer) NATOf(is4 bool) NAT {
	if is4 {
		return p.NAT4
	}
	return p.NAT6
}

// EncodeSlots is the devices as reports and intents have them.
func EncodeSlots(list []Slot) []*weftv1.WireguardSlot {
	var out []*weftv1.WireguardSlot
	for _, s := range list {
		out = append(out, &weftv1.WireguardSlot{Slot: uint32(s.Slot), PublicKey: s.Key[:], Port: uint32(s.Port), Leaving: s.Leaving})
	}
	return out
}

// EncodeCandidates is the candidates as reports and intents have them.
func EncodeCandidates(list []Candidate) []*weftv1.Candidate {
	var out []*weftv1.Candidate
	for _, c := range list {
		out = append(out, &weftv1.Candidate{Address: c.Addr.String(), Slot: uint32(c.Slot), Source: string(c.Source)})
	}
	return out
}

// mesh is the part of a peer that reports and intents share.
type mesh interface {
	GetWireguardSlots() []*weftv1.WireguardSlot
	GetCandidates() []*weftv1.Candidate
	GetNat4() string
	GetNat6() string
	GetRelays() []string
}

// DecodeMesh reads what a report or an intent says of a node's WireGuard into p.
func DecodeMesh(p *Peer, m mesh) (err error) {
	if p.Slots, err = decodeSlots(m.GetWireguardSlots()); err != nil {
		return err
	}
	if p.Candidates, err = decodeCandidates(m.GetCandidates()); err != nil {
		return err
	}
	for _, f := range []struct {
		name, in string
		out      *NAT
	}{{"nat4", m.GetNat4(), &p.NAT4}, {"nat6", m.GetNat6(), &p.NAT6}} {
		*f.out = NAT(f.in)
		if f.in != "" && !slices.Contains([]NAT{NATNone, NATEasy, NATHard, NATBlocked}, *f.out) {
			return fmt.Errorf("%s: %.20q is not a class of NAT", f.name, f.in)
		}
	}
	if len(m.GetRelays()) > maxRelays {
		return fmt.Errorf("relays: %d; at most %d", len(m.GetRelays()), maxRelays)
	}
	for _, r := range m.GetRelays() {
		if r == "" || len(r) > maxName {
			return fmt.Errorf("relays: a name of %d bytes: 1 to %d", len(r), maxName)
		}
	}
	p.Relays = m.GetRelays()
	return nil
}

func decodeSlots(in []*weftv1.WireguardSlot) ([]Slot, error) {
	if len(in) > Slots {
		return nil, fmt.Errorf("wireguard_slots: %d; at most %d", len(in), Slots)
	}
	var out []Slot
	for _, m := range in {
		s := Slot{Slot: uint8(m.GetSlot()), Port: uint16(m.GetPort()), Leaving: m.GetLeaving()}
		switch {
		case m.GetSlot() >= Slots:
			return nil, fmt.Errorf("wireguard_slots: slot %d: 0 or 1", m.GetSlot())
		case slices.ContainsFunc(out, func(o Slot) bool { return o.Slot == s.Slot }):
			return nil, fmt.Errorf("wireguard_slots: slot %d is there twice", s.Slot)
		case len(m.GetPublicKey()) != len(s.Key) || Key(m.GetPublicKey()) == Key{}:
			return nil, fmt.Errorf("wireguard_slots: slot %d: no public key of %d bytes", s.Slot, len(s.Key))
		case m.GetPort() == 0 || m.GetPort() > 65535:
			return nil, fmt.Errorf("wireguard_slots: slot %d: port %d: 1 to 65535", s.Slot, m.GetPort())
		}
		s.Key = Key(m.GetPublicKey())
		out = append(out, s)
	}
	return out, nil
}

func decodeCandidates(in []*weftv1.Candidate) ([]Candidate, error) {
	if len(in) > maxCandidates {
		return nil, fmt.Errorf("candidates: %d; at most %d", len(in), maxCandidates)
	}
	var out []Candidate
	for _, m := range in {
		a, err := netip.ParseAddrPort(m.GetAddress())
		switch {
		case err != nil || a.Addr().Zone() != "" || a.Addr().Is4In6() || a.Port() == 0:
			return nil, fmt.Errorf("candidates: %.60q is not an address with a port", m.GetAddress())
		case m.GetSlot() >= Slots:
			return nil, fmt.Errorf("candidates: %v: slot %d: 0 or 1", a, m.GetSlot())
		case !slices.Contains([]Source{FromInterface, FromExternal, FromEcho, FromServer, FromPeer}, Source(m.GetSource())):
			return nil, fmt.Errorf("candidates: %v: %.20q is not a source", a, m.GetSource())
		}
		out = append(out, Candidate{Addr: a, Slot: uint8(m.GetSlot()), Source: Source(m.GetSource())})
	}
	return out, nil
}

// maxKeyDays bounds Cluster.KeyDays: ten years.
const maxKeyDays = 3650

// decodeEncryption reads how pairs are encrypted.
func decodeEncryption(c *Cluster, m *weftv1.ClusterIntent) error {
	var err error
	if c.Encryption, err = encryption(m.GetEncryption()); err != nil {
		return err
	}
	c.Topology = Topology(m.GetTopology())
	c.WireGuardPort, c.PostQuantum, c.KeyDays = uint16(m.GetWireguardPort()), m.GetPostQuantum(), int(m.GetKeyDays())
	switch {
	case !slices.Contains([]Topology{"", TopologyFull, TopologyGateways}, c.Topology):
		return fmt.Errorf("topology %.20q: this release knows full and site-gateways", c.Topology)
	case m.GetWireguardPort() > 65534:
		return fmt.Errorf("wireguard_port %d: at most 65534", m.GetWireguardPort())
	case m.GetKeyDays() > maxKeyDays:
		return fmt.Errorf("key_days %d: at most %d", m.GetKeyDays(), maxKeyDays)
	}
	return nil
}

// encryption reads whom auto encrypts for; nothing, of others.
func encryption(s string) (Encryption, error) {
	e := Encryption(s)
	if !slices.Contains([]Encryption{"", EncryptNever, EncryptUntrusted, EncryptAlways}, e) {
		return "", fmt.Errorf("encryption %.20q: this release knows never, untrusted and always", s)
	}
	return e, nil
}
