package mesh

import (
	"net/netip"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// Input is what is known, as it is now.
type Input struct {
	Intent    intent.Node     // with the node's own entry as it is here, not as peers know it
	Relays    []string        // names of servers whose relay is connected, the quickest first
	Adopted   map[string]Rung // at the start: the rung on which the kernel was found to send, by peer
	Preshared map[string][intent.Slots][32]byte
}

// Event is something that happened.
type Event interface{ event() }

// Heard says that a probe of a peer came: from where, and by what. Where it came
// from is a candidate.
type Heard struct {
	Peer string
	Slot uint8
	From netip.AddrPort // zero if it came over a relay
	Via  Via
	// Nominate says that the peer sends here from now on, and asks to do the same.
	Nominate bool
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

// Device is what the kernel says of a peer of a WireGuard device.
type Device struct {
	Peer      string
	Slot      uint8
	Endpoint  netip.AddrPort
	Handshake time.Time // of the last; zero: none
	Received  uint64    // bytes
	Sent      uint64    // bytes
}

func (Heard) event()    {}
func (Answered) event() {}
func (Inner) event()    {}
func (Device) event()   {}

// Over is by which device a probe goes through the data path.
type Over struct {
	Rung Rung  // Direct, VXLAN or WireGuard
	Slot uint8 // of WireGuard
}

// Action is something to do. All of them are probes: choices are read with Choices.
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
}

// ProbeInner sends an echo request from fabric address to fabric address, through one
// device, padded to Size bytes of packet and not to be fragmented.
type ProbeInner struct {
	ID   uint64
	Peer string
	Over Over
	Size int // bytes; 0: small
}

func (Probe) action()      {}
func (ProbeInner) action() {}
