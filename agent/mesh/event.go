package mesh

import (
	"net/netip"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// Input is what is known, as it is now. A Machine keeps it and changes nothing in it;
// nor may the caller, afterwards.
type Input struct {
	Intent intent.Node // with the node's own entry as it is here, not as peers know it
	Relays []string    // names of servers whose relay is connected, the quickest first
	// Adopted is by which devices the kernel was found to send at the agent's start, by
	// peer. Only what the first Set says of a peer counts.
	Adopted map[string]Over
	// MTUs are those of the main routes that were found then, in bytes, by peer.
	MTUs      map[string]int
	Preshared map[string][intent.Slots]Preshared
}

// Event is something that happened.
type Event interface{ event() }

// Heard says that a probe of a peer came, authenticated: from where, and by what. It
// was answered already, by the way it came. Where it came from is a candidate.
type Heard struct {
	Peer string
	Slot uint8
	From netip.AddrPort // zero if it came over a relay
	Via  Via
	// Nominate says that the peer sends here from now on, and asks to do the same.
	Nominate bool
	Call     bool // asks to probe now, so that both routers open at once
	// Opened is an address of this node to which the peer has opened its router.
	Opened netip.AddrPort
	Sends  Over // by which devices the peer sends
}

// Answered says that a probe of ours was answered.
type Answered struct {
	ID       uint64
	Peer     string
	Slot     uint8
	From     netip.AddrPort // zero if it came over a relay
	Via      Via
	Observed netip.AddrPort // our address as the peer saw it
	RTT      time.Duration
	Sends    Over // by which devices the peer sends, as it last said
}

// Inner says that a probe through the data path was answered. Its peer is that of the
// fabric address.
type Inner struct {
	ID   uint64
	Peer string
	Over Over
	Size int // bytes of the packet
	RTT  time.Duration
}

// Unsent says that our own kernel refused to send a probe of either kind: there is no
// way to the address, or the packet is larger than a device or a known path allows.
type Unsent struct {
	ID   uint64
	Peer string
	Why  string // the kernel's words
}

// Device is what the kernel says of a peer of a WireGuard device. Only peers of whom
// anything has changed since need be told.
type Device struct {
	Peer      string
	Slot      uint8
	Endpoint  netip.AddrPort // on a loopback address: the relay's
	Handshake time.Time      // of the last; zero: none
	Received  uint64         // bytes
	Sent      uint64         // bytes
	PSK       [32]byte       // SHA-256 of the pre-shared key; zero: none
}

// Looked says that all WireGuard devices were read, and that what changed was told.
type Looked struct{}

// Traffic says that packets of pods went to the peer of late. It is for rungs without
// counters of their own; without it, pairs there count as in use.
type Traffic struct{ Peer string }

// Changed says that addresses, routes or links of the node have changed: what failed
// may work now.
type Changed struct{}

func (Heard) event()    {}
func (Answered) event() {}
func (Inner) event()    {}
func (Unsent) event()   {}
func (Device) event()   {}
func (Looked) event()   {}
func (Traffic) event()  {}
func (Changed) event()  {}

// Action is something to do. Choices are no actions: they are read with Choices.
type Action interface{ action() }

// Probe sends a probe outside of WireGuard.
type Probe struct {
	ID       uint64
	Peer     string
	Slot     uint8
	To       netip.AddrPort // if Via is zero
	Via      Via
	TTL      int // hops; 0: as usual. A small one opens our own router and dies before the peer's.
	Nominate bool
	Call     bool
	Opened   netip.AddrPort // to which our own router was just opened
	Sends    Over
}

// ProbeInner sends an echo request from fabric address to fabric address, through one
// device, padded to Size bytes of packet and not to be fragmented.
type ProbeInner struct {
	ID   uint64
	Peer string
	Over Over
	Size int // bytes; 0: small
}

// Look asks for Device of all peers now: endpoints are being set, and the kernel may
// have gone elsewhere since.
type Look struct{}

func (Probe) action()      {}
func (ProbeInner) action() {}
func (Look) action()       {}
