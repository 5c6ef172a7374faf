package apart

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/agent/relay"
	"github.com/weft-net/weft/proto/intent"
	wire "github.com/weft-net/weft/proto/relay"
)

// Protocol is the version of what is said. It changes when one end would not do what
// the other means.
const Protocol = 1

// Bounds of a message.
const (
	maxServers = 64
	maxLeases  = 1024
)

// message is what either end says. What is not there is as it was.
type message struct {
	Hello *hello `json:"hello,omitempty"` // first, in both directions
	Beat  bool   `json:"beat,omitempty"`  // asks for a message; the answer is one that has Stats

	// From the agent.
	Node   *node    `json:"node,omitempty"`
	Peers  []peer   `json:"peers,omitempty"` // as they are now
	Gone   []string `json:"gone,omitempty"`
	Whole  bool     `json:"whole,omitempty"` // all peers were named since the hello: others are gone
	Events *events  `json:"events,omitempty"`

	// From the process.
	Ports   []port       `json:"ports,omitempty"`
	Servers *[]string    `json:"servers,omitempty"` // relay.Relay.Servers
	Stats   *relay.Stats `json:"stats,omitempty"`
}

// hello is who speaks.
type hello struct {
	Protocol int    `json:"protocol"`
	Release  string `json:"release"`
	PID      int    `json:"pid"`
	// Of is what the process serves; empty: nobody told it yet.
	Of identity `json:"of"`
}

// identity is what a process serves as long as it runs.
type identity struct {
	Node    string `json:"node"`
	DataDir string `json:"dataDir"`
}

// node is what the process is told of the node itself.
type node struct {
	identity
	Servers []string             `json:"servers"` // HOST:PORT, whose relays are connected to
	Apart   time.Duration        `json:"apart"`   // their clock less ours, in nanoseconds
	Devices [intent.Slots]uint16 `json:"devices"` // UDP ports of WireGuard; 0: no device
}

// events are things that happened.
type events struct {
	Renewed bool     `json:"renewed,omitempty"` // the identity on the disk
	Moved   bool     `json:"moved,omitempty"`   // addresses of the host
	Alive   []string `json:"alive,omitempty"`   // servers that answer
}

// peer is a node of the fabric, this one among them.
type peer struct {
	Name     string             `json:"name"`
	Lease    []netip.Prefix     `json:"lease,omitempty"`
	Relays   bool               `json:"relays,omitempty"`
	Straight *bool              `json:"straight,omitempty"` // reached without a node between; nil: as before
	Slots    [intent.Slots]slot `json:"slots"`
	Asks     [intent.Slots]ask  `json:"asks"`
}

// slot is a WireGuard device of a peer.
type slot struct {
	Key     []byte `json:"key,omitempty"`    // public; empty: there is no device
	Secret  []byte `json:"secret,omitempty"` // relay.Config.Secret; empty: not needed, or there is none
	Leaving bool   `json:"leaving,omitempty"`
}

// ask is what is wanted of a port.
type ask struct {
	Port bool            `json:"port,omitempty"` // that it is there
	Via  *mesh.Via       `json:"via,omitempty"`  // relay.Relay.Use; nil: not said
	As   *netip.AddrPort `json:"as,omitempty"`   // relay.Relay.As; nil: not said
}

// port is where a device reaches a peer.
type port struct {
	Peer string         `json:"peer"`
	Slot uint8          `json:"slot"`
	At   netip.AddrPort `json:"at"`
}

// parseMessage reads a message, and refuses one that breaks a rule.
func parseMessage(b []byte) (message, error) {
	var m message
	if err := json.Unmarshal(b, &m); err != nil {
		return message{}, fmt.Errorf("apart: a message is no JSON of this protocol: %w", err)
	}
	if err := m.check(); err != nil {
		return message{}, err
	}
	return m, nil
}

func (m message) check() error {
	if m.Node != nil && (m.Node.Node == "" || len(m.Node.Node) > wire.MaxName || m.Node.DataDir == "" || len(m.Node.Servers) > maxServers) {
		return fmt.Errorf("apart: field node: a name of 1 to %d bytes, a data folder and at most %d servers", wire.MaxName, maxServers)
	}
	for _, p := range m.Peers {
		if err := p.check(); err != nil {
			return err
		}
	}
	for _, p := range m.Ports {
		if int(p.Slot) >= intent.Slots || p.Peer == "" || p.At.Port() == 0 || !p.At.Addr().IsLoopback() {
			return fmt.Errorf("apart: field ports: %v of node %.60q, slot %d, is no port of loopback", p.At, p.Peer, p.Slot)
		}
	}
	return nil
}

func (p peer) check() error {
	if p.Name == "" || len(p.Name) > wire.MaxName || len(p.Lease) > maxLeases {
		return fmt.Errorf("apart: field peers: a name of 1 to %d bytes, not %.60q, and at most %d prefixes", wire.MaxName, p.Name, maxLeases)
	}
	for i, s := range p.Slots {
		if n := len(s.Key); n != 0 && n != len(intent.Key{}) {
			return fmt.Errorf("apart: field peers: the key of node %s, slot %d, has %d bytes", p.Name, i, n)
		}
		if n := len(s.Secret); n != 0 && n != 32 {
			return fmt.Errorf("apart: field peers: the secret of node %s, slot %d, has %d bytes", p.Name, i, n)
		}
	}
	return nil
}

// intent is the peer as agent/relay knows it.
func (p peer) intent() intent.Peer {
	out := intent.Peer{Name: p.Name, Lease: p.Lease}
	if p.Relays {
		out.Labels = map[string]string{intent.RelayLabel: "true"}
	}
	for i, s := range p.Slots {
		if len(s.Key) > 0 {
			out.Slots = append(out.Slots, intent.Slot{Slot: uint8(i), Key: intent.Key(s.Key), Leaving: s.Leaving})
		}
	}
	return out
}

// equal compares what is said of the node; asks are compared where they are made.
func (p peer) equal(o peer) bool {
	same := func(a, b slot) bool {
		return string(a.Key) == string(b.Key) && string(a.Secret) == string(b.Secret) && a.Leaving == b.Leaving
	}
	straight := (p.Straight == nil) == (o.Straight == nil) && (p.Straight == nil || *p.Straight == *o.Straight)
	return straight && p.Name == o.Name && slices.Equal(p.Lease, o.Lease) && p.Relays == o.Relays && slices.EqualFunc(p.Slots[:], o.Slots[:], same)
}
