package paths

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/proto/disco"
	"github.com/weft-net/weft/proto/echo"
	"github.com/weft-net/weft/proto/intent"
)

// latency of the network between nodes, one way.
const latency = 10 * time.Millisecond

// network carries datagrams between wires.
type network struct {
	mu    sync.Mutex
	wires map[netip.Addr]*wire
	hops  map[netip.Addr]bool                                         // addresses to which our own kernel has no way
	echo  func(from netip.AddrPort, to uint16) (netip.AddrPort, bool) // as what a server sees a datagram
	asked int
}

var echoServer = netip.MustParseAddr("203.0.113.1")

func newNetwork() *network {
	return &network{wires: map[netip.Addr]*wire{}, hops: map[netip.Addr]bool{}}
}

// wire is a node's sockets.
type wire struct {
	net  *network
	addr netip.Addr

	mu       sync.Mutex
	ports    []uint16
	sent     []probe.Datagram
	inner    []probe.Request
	heard    func(probe.Datagram)
	answered func(probe.Reply)
	running  chan struct{}
}

func (n *network) wire(addr string) *wire {
	w := &wire{net: n, addr: netip.MustParseAddr(addr), running: make(chan struct{})}
	n.wires[w.addr] = w
	return w
}

func (w *wire) Ports(ports []uint16) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ports = slices.Clone(ports)
	return nil
}

func (w *wire) Send(d probe.Datagram) error {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	if w.net.hops[d.Remote.Addr()] {
		return &netError{syscall.ENETUNREACH}
	}
	w.mu.Lock()
	w.sent = append(w.sent, d)
	w.mu.Unlock()
	from := netip.AddrPortFrom(w.addr, d.Port)
	if d.Remote.Addr() == echoServer {
		w.net.ask(w, from, d)
		return nil
	}
	if to := w.net.wires[d.Remote.Addr()]; to != nil {
		time.AfterFunc(latency, func() {
			to.come(probe.Datagram{Local: d.Remote.Addr(), Port: d.Remote.Port(), Remote: from, Data: d.Data, At: time.Now()})
		})
	}
	return nil
}

// netError has words around those of the kernel.
type netError struct{ no syscall.Errno }

func (e *netError) Error() string { return "send: " + e.no.Error() }
func (e *netError) Unwrap() error { return e.no }

// ask answers as a server's echo does.
func (n *network) ask(w *wire, from netip.AddrPort, d probe.Datagram) {
	n.asked++
	r, err := echo.ParseRequest(d.Data)
	if err != nil || n.echo == nil || r.Cookie != (echo.Cookie{7}) {
		return
	}
	seen, ok := n.echo(from, d.Remote.Port())
	if !ok {
		return
	}
	reply := echo.Reply{ID: r.ID, Observed: seen}.Bytes()
	time.AfterFunc(2*latency, func() {
		w.come(probe.Datagram{Local: w.addr, Port: d.Port, Remote: d.Remote, Data: reply, At: time.Now()})
	})
}

// out is what was sent.
func (w *wire) out() []probe.Datagram {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sent)
}

// open are the ports that are heard, sorted.
func (w *wire) open() []uint16 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(slices.Values(w.ports))
}

// through is the last request through the data path.
func (w *wire) through() probe.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.inner[len(w.inner)-1]
}

// set changes what a server sees.
func (n *network) set(echo func(netip.AddrPort, uint16) (netip.AddrPort, bool)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.echo = echo
}

// questions is how often the echo was asked.
func (n *network) questions() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

// cut leaves no way to an address.
func (n *network) cut(a netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hops[a] = true
}

func (w *wire) come(d probe.Datagram) {
	w.mu.Lock()
	open := slices.Contains(w.ports, d.Port)
	heard := w.heard
	w.mu.Unlock()
	if open && heard != nil {
		heard(d)
	}
}

// tooLarge is what a device does not take.
const tooLarge = 1400

func (w *wire) Inner(r probe.Request) error {
	if r.Size > tooLarge {
		return &netError{syscall.EMSGSIZE}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inner = append(w.inner, r)
	return nil
}

func (w *wire) Run(ctx context.Context, heard func(probe.Datagram), answered func(probe.Reply)) error {
	w.mu.Lock()
	w.heard, w.answered = heard, answered
	w.mu.Unlock()
	close(w.running)
	<-ctx.Done()
	return nil
}

// script is a machine that does what it is told, and writes down what it hears.
type script struct {
	mu      sync.Mutex
	acts    []mesh.Action
	events  []mesh.Event
	in      mesh.Input
	sets    int
	choices map[string]mesh.Choice
}

func (s *script) Set(in mesh.Input, _ time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in, s.sets = in, s.sets+1
}

func (s *script) Event(e mesh.Event, _ time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

func (s *script) Step(time.Time) ([]mesh.Action, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	acts := s.acts
	s.acts = nil
	return acts, time.Time{}
}

func (s *script) Choices() map[string]mesh.Choice {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.choices
}

// last is what the machine was told last.
func (s *script) last() mesh.Input {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in
}

func (s *script) choose(c map[string]mesh.Choice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.choices = c
}

func (s *script) Explain(string, time.Time) (mesh.Explanation, bool) {
	return mesh.Explanation{}, false
}
func (s *script) Summary() mesh.Summary { return mesh.Summary{} }
func (s *script) Tunnels(time.Time) map[string][intent.Slots]mesh.Tunnel {
	return nil
}

// heard takes what the machine was told of a kind, since it was asked last.
func heard[E mesh.Event](s *script) (out []E) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = slices.DeleteFunc(s.events, func(e mesh.Event) bool {
		v, ok := e.(E)
		if ok {
			out = append(out, v)
		}
		return ok
	})
	return out
}

// node is one agent's room, with doubles around it.
type node struct {
	*Paths
	t       *testing.T
	name    string
	wire    *wire
	machine *script

	mu      sync.Mutex
	slots   []intent.Slot
	private map[intent.Key][32]byte
	peers   []intent.Peer
	addrs   []netip.Addr
	offer   Offer
	devices []Device
	told    []told
	changed int
}

// told is a report and when it came.
type told struct {
	Report
	at time.Time
}

// relays hand a packet to the peer.
type relays struct {
	names []string
	to    map[string]*node
	from  string
}

func (r *relays) Servers() []string { return r.names }

func (r *relays) SendProbe(via mesh.Via, peer string, slot uint8, b []byte) error {
	if to := r.to[peer]; slices.Contains(r.names, via.Server) && to != nil {
		time.AfterFunc(latency, func() { to.Relayed(via, r.from, slot, b) })
		return nil
	}
	return errors.New("no such relay")
}

// newNode makes a node that does not run yet. Its fabric address ends in its number.
func newNode(t *testing.T, net *network, name, addr string, c Config) *node {
	t.Helper()
	n := &node{t: t, name: name, wire: net.wire(addr), machine: &script{choices: map[string]mesh.Choice{}}, private: map[intent.Key][32]byte{}}
	n.addrs = []netip.Addr{n.wire.addr}
	n.rekey(0)
	c.Self, c.Machine, c.Devices, c.Wire = name, n.machine, n, n.wire
	c.Input = func() (mesh.Input, bool) {
		n.mu.Lock()
		defer n.mu.Unlock()
		return mesh.Input{Intent: intent.Node{Name: name, Peers: n.peers}}, true
	}
	c.Slots = func() []intent.Slot { n.mu.Lock(); defer n.mu.Unlock(); return n.slots }
	c.Shared = func(own, peer intent.Key) ([32]byte, error) { return disco.Shared(n.private[own], peer) }
	c.Addrs = func() []netip.Addr { n.mu.Lock(); defer n.mu.Unlock(); return n.addrs }
	c.Offer = func() (Offer, bool) { n.mu.Lock(); defer n.mu.Unlock(); return n.offer, len(n.offer.Addrs) > 0 }
	c.Changed = func() { n.mu.Lock(); defer n.mu.Unlock(); n.changed++ }
	c.Told = func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.told = append(n.told, told{n.Report(), time.Now()})
	}
	n.Paths = New(c)
	return n
}

// rekey gives a slot a key, the same for the same node, slot and time.
func (n *node) rekey(slot uint8) {
	private := sha256.Sum256([]byte(n.name + string(rune('0'+slot)) + time.Now().String()))
	public := publicOf(n.t, private)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.private[public] = private
	n.slots = slices.DeleteFunc(slices.Clone(n.slots), func(s intent.Slot) bool { return s.Slot == slot })
	n.slots = append(n.slots, intent.Slot{Slot: slot, Key: public, Port: 51820 + uint16(slot)})
}

// WGPeers implements Devices.
func (n *node) WGPeers(context.Context) ([]Device, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.devices), nil
}

// reports are those that were told.
func (n *node) reports() []told {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.told)
}

// do has the machine ask for something.
func (n *node) do(acts ...mesh.Action) {
	n.machine.mu.Lock()
	n.machine.acts = append(n.machine.acts, acts...)
	n.machine.mu.Unlock()
	n.Kick()
}

// set changes what the other rooms answer.
func (n *node) set(f func()) {
	n.mu.Lock()
	f()
	n.mu.Unlock()
	n.Kick()
}

// know tells nodes of each other.
func know(nodes ...*node) {
	var list []intent.Peer
	for i, n := range nodes {
		lease := []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 42, byte(i + 1), 0}), 24)}
		list = append(list, intent.Peer{
			Name: n.name, Lease: lease, Slots: n.slots,
			Underlay: []intent.Underlay{{Addr: netip.PrefixFrom(n.wire.addr, 24), Device: "eth0", MTU: 1500}},
		})
	}
	for _, n := range nodes {
		n.set(func() { n.peers = list })
	}
}

// run has nodes run until the test ends, and waits until they have settled.
func run(t *testing.T, nodes ...*node) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, len(nodes))
	for _, n := range nodes {
		go func() { done <- n.Run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		for range nodes {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	synctest.Wait()
}

// pass lets time go by.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
