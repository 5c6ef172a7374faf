package mesh

import (
	"net/netip"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// Rung is one step of the ladder. A lower one is better; the zero value is none.
type Rung uint8

// The rungs.
const (
	None Rung = iota
	Direct
	VXLAN
	WireGuard
	Punched
	ByNode   // ciphertext over another node
	ByServer // ciphertext over a server's relay
)

// String is the word that operators read.
func (r Rung) String() string {
	return [...]string{"none", "direct", "vxlan", "wireguard", "punched", "relayed (node)", "relayed"}[r]
}

// Sealed tells whether packets on the rung are encrypted.
func (r Rung) Sealed() bool { return r >= WireGuard }

// Over is by which devices packets go through the data path. The zero value is none.
type Over struct {
	Rung  Rung  // Direct, VXLAN or WireGuard: higher rungs differ from it in the endpoint only
	Slot  uint8 // of WireGuard
	Spare bool  // of VXLAN: through its spare devices (intent.Carrier)
}

// Choice is how a pair sends, as package overlay makes objects of it. The zero value
// sends nothing: what is for the peer is refused here, rather than let out by the
// default route.
type Choice struct {
	Rung  Rung
	Slot  uint8 // of the WireGuard devices, on a sealed rung
	Spare bool  // on VXLAN: through its spare devices
	MTU   int   // bytes of a packet between pods; 0: as the path's ends say
	// Peers are the peer's entries in the WireGuard devices, by slot. They are there
	// on every rung, so that either end may move first.
	Peers [intent.Slots]Peer
}

// Over is by which devices the pair sends.
func (c Choice) Over() Over {
	if c.Rung.Sealed() {
		return Over{Rung: WireGuard, Slot: c.Slot}
	}
	return Over{Rung: c.Rung, Spare: c.Spare}
}

// Peer is a peer of one WireGuard device.
type Peer struct {
	There bool // both ends have a device of the slot
	// Fabric says that only the agents send by it, from fabric address to fabric address:
	// they agree on the pre-shared key that it has not got yet.
	Fabric bool
	// Endpoint is to be set now; zero: what the kernel has stays, which follows the
	// peer. Where Relayed is true, the relay's local address for peer and slot is to be
	// set instead. As long as it is there, what still comes over a relay has to be
	// handed to WireGuard as if it came from Endpoint: packets that were under way when
	// the two ends moved would else take them back.
	Endpoint netip.AddrPort
	Relayed  bool
	// Again counts how often the endpoint had to be set again, because the kernel had
	// gone elsewhere after a late packet. When it changes, the device must be looked at:
	// what was committed last does not tell.
	Again uint8
	// Via carries what the kernel sends to the relay's local address. It is there on
	// every rung where a relay could carry, so that the peer may go there first.
	Via       Via
	Keepalive time.Duration // whole seconds; 0: none
	PSK       [32]byte      // SHA-256 of the pre-shared key; zero: none
}

// Via is what carries a packet to a peer, outside of WireGuard. The zero value is a
// UDP datagram from the WireGuard port of the slot straight to an address.
type Via struct {
	Server string // its relay, by name
	Node   string // another node that relays, by name
}
