package paths

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/proto/echo"
	"github.com/weft-net/weft/proto/intent"
)

// Config joins the room to the others. All functions are called from Run's goroutines
// and must not block but for what they are there for.
type Config struct {
	Self string // the node's name
	Log  *slog.Logger

	// Input is what is known of the fabric now: the intent with the node's own underlay
	// as it is, what was adopted, pre-shared keys. This room fills in what it knows of
	// the node itself (slots, candidates, NAT) and the relays. False: nothing is known.
	Input func() (mesh.Input, bool)
	// Slots are the node's WireGuard devices: keyring.Ring's.
	Slots func() []intent.Slot
	// Shared is X25519 of the private key that belongs to a public one of ours, and a
	// peer's: disco.Shared, so that no private key leaves the keyring.
	Shared func(own, peer intent.Key) ([32]byte, error)
	// Addrs are the node's addresses that peers may reach, best first:
	// underlay.Candidates.
	Addrs func() []netip.Addr
	// External is --node-external-ip: addresses or DNS names.
	External []string
	// Offer is what the server offered last; false: nothing.
	Offer func() (Offer, bool)

	Machine Machine // nil: mesh.New
	Devices Devices
	Relay   Relay // nil: none
	Wire    Wire  // nil: the kernel's sockets
	Resolve func(ctx context.Context, name string) ([]netip.Addr, error)

	// Changed is called when Choices has changed, Told when Report has.
	Changed func()
	Told    func()
}

// Offer is where the server tells how our datagrams look from outside.
type Offer struct {
	// Addrs are the server's, one a family at most: first that by which it was reached.
	Addrs  []netip.Addr
	Ports  []uint16 // UDP
	Cookie echo.Cookie
	Until  time.Time // when the cookie ends
}

// Device is what a WireGuard device says of a peer.
type Device struct {
	Dev       string
	Key       intent.Key // public, of the peer
	Endpoint  netip.AddrPort
	Handshake time.Time // of the last; zero: none
	Received  uint64    // bytes
	Sent      uint64    // bytes
	PSK       [32]byte  // SHA-256 of the pre-shared key; zero: none
}

// Devices asks the WireGuard devices.
type Devices interface {
	WGPeers(ctx context.Context) ([]Device, error)
}

// Relay carries probes. What comes by it is handed to Paths.Relayed.
type Relay interface {
	// Servers are the names of those whose relay is connected, the quickest first.
	Servers() []string
	// SendProbe hands a packet on; it does not wait.
	SendProbe(via mesh.Via, peer string, slot uint8, b []byte) error
}

// Wire is the node's raw sockets: probe.Sockets.
type Wire interface {
	Ports(ports []uint16) error
	Send(d probe.Datagram) error
	Inner(r probe.Request) error
	Run(ctx context.Context, heard func(probe.Datagram), answered func(probe.Reply)) error
}

// Machine decides: mesh.Machine.
type Machine interface {
	Set(in mesh.Input, now time.Time)
	Event(e mesh.Event, now time.Time)
	// Step answers what to do, and when to step again; zero: when something happens.
	Step(now time.Time) ([]mesh.Action, time.Time)
	Choices() map[string]mesh.Choice
	Explain(peer string, now time.Time) (mesh.Explanation, bool)
	Summary() mesh.Summary
	Tunnels(now time.Time) map[string][intent.Slots]mesh.Tunnel
}

// Report is what the node says of itself.
type Report struct {
	Slots      []intent.Slot
	Candidates []intent.Candidate
	NAT4, NAT6 intent.NAT
	Relays     []string
}
