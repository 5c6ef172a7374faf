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

// Choice is how a pair sends, as package overlay makes objects of it. The zero value
// sends nothing: what is for the peer is refused here, rather than let out by the
// default route.
type Choice struct {
	Rung Rung
	Slot uint8 // of the WireGuard devices, on a sealed rung
	MTU  int   // bytes of a packet between pods; 0: as the path's ends say
	// Peers are the peer's entries in the WireGuard devices, by slot. They are there
	// on every rung, so that either end may move first.
	Peers [intent.Slots]Peer
}

// Peer is a peer of one WireGuard device.
type Peer struct {
	There     bool           // both ends have a device of the slot
	Endpoint  netip.AddrPort // to set now; zero: what the kernel has stays
	Keepalive time.Duration  // whole seconds; 0: none
	PSK       [32]byte       // SHA-256 of the pre-shared key; zero: none
}

// Via is what carries a probe to a peer, outside of WireGuard. The zero value is a UDP
// datagram from the WireGuard port of the slot straight to an address.
type Via struct {
	Server string // its relay, by name
	Node   string // another node that relays, by name
}
