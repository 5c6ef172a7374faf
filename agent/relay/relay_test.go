package relay

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
	wire "github.com/weft-net/weft/proto/relay"
	"github.com/weft-net/weft/tunnel"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// disk is a data folder in memory.
type disk struct {
	mu    sync.Mutex
	files map[string]string
	wrote chan struct{}
}

func newDisk() *disk { return &disk{files: map[string]string{}, wrote: make(chan struct{}, 100)} }

func (d *disk) Read(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b, ok := d.files[name]; ok {
		return []byte(b), nil
	}
	return nil, fs.ErrNotExist
}

func (d *disk) Write(name string, b []byte) error {
	d.mu.Lock()
	d.files[name] = string(b)
	d.mu.Unlock()
	d.wrote <- struct{}{}
	return nil
}

func (d *disk) SetAside(name string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[name+".unreadable"] = d.files[name]
	delete(d.files, name)
	return name + ".unreadable", nil
}

// node is one with a Relay, and a socket that stands for its WireGuard device.
type node struct {
	*Relay
	t       *testing.T
	name    string
	device  *net.UDPConn
	disk    *disk
	changed chan struct{} // a token for each OnChange
	probes  chan string
	links   map[*hub]*tunnel.Conn
}

// nodes are those of the fabric; each leases a prefix of 127.0.0.0/8, so that its fabric
// address is there.
var fabric = []string{"a", "b", "r"}

func lease(name string) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 77, byte(slices.Index(fabric, name) + 1), 0}), 24)
}

func peers() []intent.Peer {
	var out []intent.Peer
	for i, name := range fabric {
		p := intent.Peer{Name: name, Lease: []netip.Prefix{lease(name)}, Slots: []intent.Slot{{Slot: 0, Key: intent.Key{byte(i + 1)}, Port: 51820}}}
		if name == "r" {
			p.Labels = map[string]string{intent.RelayLabel: "true"}
		}
		out = append(out, p)
	}
	return out
}

func startNode(t *testing.T, name string, d *disk) *node {
	t.Helper()
	device, err := listenLocal(0)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, name: name, device: device, disk: d, changed: make(chan struct{}, 1000), probes: make(chan string, 1000), links: map[*hub]*tunnel.Conn{}}
	n.Relay, err = New(Config{
		Node: name, Folder: d,
		Device:   func(uint8) uint16 { return device.LocalAddr().(*net.UDPAddr).AddrPort().Port() },
		Intent:   func() (intent.Node, bool) { return intent.Node{Name: name, Peers: peers()}, true },
		Straight: func(string) bool { return true },
		Secret:   func(peer string, _ uint8) ([32]byte, bool) { return [32]byte{name[0] ^ peer[0]}, true },
		Probe: func(via mesh.Via, peer string, slot uint8, b []byte) {
			n.probes <- fmt.Sprintf("%s of %s, slot %d, over %s%s", b, peer, slot, via.Server, via.Node)
		},
		OnChange: func() { n.changed <- struct{}{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = n.Run(ctx) }()
	t.Cleanup(func() {
		for _, c := range n.links {
			c.Close()
		}
		stop()
		<-done
		device.Close()
	})
	return n
}

// hub is a server's relay that believes names.
type hub struct {
	name string
	srv  *httptest.Server

	mu sync.Mutex
	at map[string]*tunnel.Conn
}

func newHub(t *testing.T, name string) *hub {
	h := &hub{name: name, at: map[string]*tunnel.Conn{}}
	h.srv = httptest.NewServer(h)
	t.Cleanup(h.kill)
	return h
}

func (h *hub) kill() {
	h.mu.Lock()
	all := h.at
	h.at = map[string]*tunnel.Conn{}
	h.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
	h.srv.Close()
}

func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from := r.Header.Get("Node")
	ready := make(chan *tunnel.Conn, 1)
	var own *tunnel.Conn
	c, err := tunnel.Upgrade(w, r, tunnel.Config{Datagram: func(b []byte) {
		if own == nil {
			own = <-ready
		}
		f, err := wire.Parse(b)
		h.mu.Lock()
		defer h.mu.Unlock()
		if to := h.at[string(f.Name)]; err == nil && to != nil {
			_ = to.SendDatagram(wire.AppendHead(nil, f.Kind, f.Slot, f.Size, from), f.Payload)
		} else {
			_ = own.SendDatagram(wire.AppendHead(nil, wire.Absent, f.Slot, 0, f.Name))
		}
	}})
	if err != nil {
		return
	}
	ready <- c
	h.mu.Lock()
	h.at[from] = c
	h.mu.Unlock()
}

// join connects a node to a hub, through a wire that can be cut.
func (n *node) join(h *hub) *cable {
	n.t.Helper()
	raw, err := net.Dial("tcp", h.srv.Listener.Addr().String())
	if err != nil {
		n.t.Fatal(err)
	}
	wired := &cable{Conn: raw}
	cfg, serve := n.Tunnel()
	c, _, err := tunnel.Dial(context.Background(), wired, "ws://"+h.srv.Listener.Addr().String()+wire.Path, http.Header{"Node": {n.name}}, cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	n.links[h] = c
	served := make(chan struct{})
	go func() { defer close(served); serve(context.Background(), c, h.name) }()
	n.t.Cleanup(func() { c.Close(); <-served })
	for !slices.Contains(n.Servers(), h.name) {
		<-n.changed
	}
	for h.of(n.name) == nil {
		time.Sleep(time.Millisecond)
	}
	return wired
}

func (h *hub) of(node string) *tunnel.Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at[node]
}

// cable is a connection on which nothing comes any more once it is cut.
type cable struct {
	net.Conn
	mu  sync.Mutex
	cut bool
}

func (c *cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
}

func (c *cable) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		c.mu.Lock()
		cut := c.cut
		c.mu.Unlock()
		if err != nil || !cut {
			return n, err
		}
	}
}

// send has the device send packets to a peer.
func (n *node) send(peer string, packets ...string) {
	n.t.Helper()
	at, err := n.Endpoint(peer, 0)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, p := range packets {
		if _, err := n.device.WriteToUDPAddrPort([]byte(p), at); err != nil {
			n.t.Fatal(err)
		}
	}
}

// hear is what the device gets next, and of whom.
func (n *node) hear() string {
	n.t.Helper()
	_ = n.device.SetReadDeadline(time.Now().Add(time.Minute))
	b := make([]byte, 64<<10)
	size, from, err := n.device.ReadFromUDPAddrPort(b)
	if err != nil {
		n.t.Fatal(err)
	}
	peer, slot, ok := n.Whose(from)
	if !ok {
		return fmt.Sprintf("%s of %v", b[:size], from)
	}
	return fmt.Sprintf("%s of %s, slot %d", b[:size], peer, slot)
}

// exchange sends words until one comes: of packets that were thrown away while a relay
// was being lost, nobody says so.
func exchange(t *testing.T, from, to *node) {
	t.Helper()
	b := make([]byte, 64<<10)
	for i := range 600 {
		from.send(to.name, fmt.Sprintf("word %d", i))
		_ = to.device.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, _, err := to.device.ReadFromUDPAddrPort(b); err == nil {
			return
		}
	}
	t.Fatalf("nothing of %s came to %s", from.name, to.name)
}

func TestOverAServer(t *testing.T) {
	s1 := newHub(t, "s1")
	a, b := startNode(t, "a", newDisk()), startNode(t, "b", newDisk())
	a.join(s1)
	b.join(s1)
	a.send("b", "one", "two", strings.Repeat("x", 1400), "end")
	for _, want := range []string{"one of a, slot 0", "two of a, slot 0", strings.Repeat("x", 1400) + " of a, slot 0", "end of a, slot 0"} {
		if got := b.hear(); got != want {
			t.Errorf("got %.60q, want %.60q", got, want)
		}
	}
	b.send("a", "back") // to where it came from
	if got := a.hear(); got != "back of b, slot 0" {
		t.Errorf("got %q", got)
	}
	if err := a.SendProbe(mesh.Via{Server: "s1"}, "b", 1, []byte("ping")); err != nil {
		t.Error(err)
	}
	if got := <-b.probes; got != "ping of a, slot 1, over s1" {
		t.Errorf("probe %q", got)
	}
	if err := a.SendProbe(mesh.Via{Server: "s2"}, "b", 1, []byte("ping")); err == nil || !strings.Contains(err.Error(), `server "s2"`) {
		t.Errorf("a probe over a server that is not there: %v", err)
	}
}

// TestOnlyTheDevice: another process of the machine cannot send in the device's name.
func TestOnlyTheDevice(t *testing.T) {
	s1 := newHub(t, "s1")
	a, b := startNode(t, "a", newDisk()), startNode(t, "b", newDisk())
	a.join(s1)
	b.join(s1)
	at, err := a.Endpoint("b", 0)
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.Dial("udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for range 10 {
		_, _ = other.Write([]byte("forged")) // the kernel may refuse it
	}
	a.send("b", "true")
	if got := b.hear(); got != "true of a, slot 0" {
		t.Errorf("got %q", got)
	}
}

// TestStrangers: what a relay says of nodes that are not of the fabric opens nothing.
func TestStrangers(t *testing.T) {
	s1 := newHub(t, "s1")
	a := startNode(t, "a", newDisk())
	a.join(s1)
	c := s1.of("a")
	for _, name := range []string{"stranger", "a", "b"} {
		if err := c.SendDatagram(wire.AppendHead(nil, wire.Packets, 0, 4, name), []byte(name[:1]+"...")); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.SendDatagram([]byte{1, 2, 3})
	if got := a.hear(); got != "b... of b, slot 0" {
		t.Errorf("got %q", got)
	}
	_ = a.SendProbe(mesh.Via{Server: "s1"}, "a", 0, []byte("to itself")) // comes back, after all that
	for a.Stats().Strays < 4 {
		time.Sleep(time.Millisecond)
	}
	if s := a.Stats(); s.Ports != 1 {
		t.Errorf("%d ports", s.Ports)
	}
}

func TestPortsAreRemembered(t *testing.T) {
	d := newDisk()
	first := startNode(t, "a", d)
	b0, _ := first.Endpoint("b", 0)
	b1, _ := first.Endpoint("b", 1)
	r0, err := first.Endpoint("r", 0)
	if err != nil || b0 == b1 || b0 == r0 || b0.Addr() != loopback {
		t.Fatalf("%v %v %v, %v", b0, b1, r0, err)
	}
	for strings.Count(func() string { b, _ := d.Read(portsFile); return string(b) }(), "port\"") < 3 {
		<-d.wrote
	}
	want := fmt.Sprintf("{\n\t\"schema\": 1,\n\t\"ports\": [\n\t\t{\n\t\t\t\"peer\": \"b\",\n\t\t\t\"slot\": 0,\n\t\t\t\"port\": %d\n\t\t},\n\t\t{\n\t\t\t\"peer\": \"b\",\n\t\t\t\"slot\": 1,\n\t\t\t\"port\": %d\n\t\t},\n\t\t{\n\t\t\t\"peer\": \"r\",\n\t\t\t\"slot\": 0,\n\t\t\t\"port\": %d\n\t\t}\n\t]\n}\n", b0.Port(), b1.Port(), r0.Port())
	got, _ := d.Read(portsFile)
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	first.Relay.end()
	taken, err := listenLocal(b1.Port()) // by somebody else, while the agent was away
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	second := startNode(t, "a", d)
	if peer, slot, ok := second.Whose(b0); peer != "b" || slot != 0 || !ok {
		t.Errorf("%v is of %s, slot %d, %v", b0, peer, slot, ok)
	}
	if again, err := second.Endpoint("b", 0); again != b0 || err != nil {
		t.Errorf("%v after %v, %v", again, b0, err)
	}
	if again, err := second.Endpoint("b", 1); again == b1 || err != nil {
		t.Errorf("%v, which somebody else has, %v", again, err)
	}
	second.Keep(func(peer string) bool { return peer == "b" })
	if _, _, ok := second.Whose(r0); ok {
		t.Error("the port of a peer that is gone is still its")
	}
}

func TestDamagedMemoryIsSetAside(t *testing.T) {
	for _, content := range []string{"{", `{"schema": 9}`, `{"schema": 1, "ports": 7}`} {
		d := newDisk()
		d.files[portsFile] = content
		if _, err := startNode(t, "a", d).Endpoint("b", 0); err != nil {
			t.Errorf("%s: %v", content, err)
		}
		if kept, _ := d.Read(portsFile + ".unreadable"); string(kept) != content {
			t.Errorf("%s is gone", content)
		}
	}
}

func TestNoPortForNonsense(t *testing.T) {
	a := startNode(t, "a", newDisk())
	for _, k := range []key{{"", 0}, {"b", 2}, {strings.Repeat("b", 254), 0}} {
		if at, err := a.Endpoint(k.peer, k.slot); err == nil {
			t.Errorf("%v has %v", k, at)
		}
	}
}

// TestServerDies: what is sent goes over the other one, without anybody's word.
func TestServerDies(t *testing.T) {
	s1, s2 := newHub(t, "s1"), newHub(t, "s2")
	a, b := startNode(t, "a", newDisk()), startNode(t, "b", newDisk())
	for _, n := range []*node{a, b} {
		n.join(s1)
		n.join(s2)
	}
	if err := a.Use("b", 0, mesh.Via{Server: "s1"}); err != nil {
		t.Fatal(err)
	}
	exchange(t, a, b)
	s1.kill()
	exchange(t, a, b)
	exchange(t, b, a)
	for slices.Contains(a.Servers(), "s1") {
		<-a.changed
	}
}

// TestServerIsSilent: one that takes everything and says nothing is not used, and is
// again once it answers.
func TestServerIsSilent(t *testing.T) {
	s1, s2 := newHub(t, "s1"), newHub(t, "s2")
	a, b := startNode(t, "a", newDisk()), startNode(t, "b", newDisk())
	b.join(s2)
	silent := a.join(s1)
	a.join(s2)
	b.join(s1)
	if err := a.Use("b", 0, mesh.Via{Server: "s1"}); err != nil {
		t.Fatal(err)
	}
	exchange(t, a, b)
	silent.set(true)
	for slices.Contains(a.Servers(), "s1") {
		a.send("b", "anybody there?")
		select {
		case <-a.changed:
		case <-time.After(50 * time.Millisecond):
		}
	}
	if a.Stats().Mutes == 0 {
		t.Error("it was not counted")
	}
	silent.set(false)
	for !slices.Contains(a.Servers(), "s1") {
		<-a.changed
	}
}

// TestPeerHasLeftAServer: the server says so, and another one is used.
func TestPeerHasLeftAServer(t *testing.T) {
	s1, s2 := newHub(t, "s1"), newHub(t, "s2")
	a, b := startNode(t, "a", newDisk()), startNode(t, "b", newDisk())
	a.join(s1)
	a.join(s2)
	b.join(s2)
	if err := a.Use("b", 0, mesh.Via{Server: "s1"}); err != nil {
		t.Fatal(err)
	}
	exchange(t, a, b)
	b.join(s1)
	b.send("a", "here") // by s2, where it was heard
	if got := a.hear(); got != "here of b, slot 0" {
		t.Errorf("got %q", got)
	}
}

// TestNowhere: without any relay, what is sent is counted.
func TestNowhere(t *testing.T) {
	a := startNode(t, "a", newDisk())
	a.send("b", "lost")
	for a.Stats().Nowhere == 0 {
		time.Sleep(time.Millisecond)
	}
}

// TestAs: what comes over a relay while the device is held to a straight way comes as if
// from there.
func TestAs(t *testing.T) {
	s1 := newHub(t, "s1")
	a, b := startNode(t, "a", newDisk()), startNode(t, "b", newDisk())
	a.join(s1)
	b.join(s1)
	straight := netip.MustParseAddrPort("127.66.0.1:51820")
	if err := b.As("a", 0, straight); err != nil {
		t.Fatal(err) // it needs CAP_NET_RAW
	}
	a.send("b", "late")
	if got := b.hear(); got != "late of 127.66.0.1:51820" {
		t.Errorf("got %q", got)
	}
	if err := b.As("a", 0, netip.AddrPort{}); err != nil {
		t.Fatal(err)
	}
	a.send("b", "as ever")
	if got := b.hear(); got != "as ever of a, slot 0" {
		t.Errorf("got %q", got)
	}
}

// TestAsksAgain: what asks for a session finds a peer that comes to the relay later, and
// is not sent for ever.
func TestAsksAgain(t *testing.T) {
	s1 := newHub(t, "s1")
	a, b := startNode(t, "a", newDisk()), startNode(t, "b", newDisk())
	a.send("b", "\x01"+strings.Repeat("i", openingSize-1)) // without any relay
	a.send("b", "not kept")
	a.join(s1)
	b.join(s1)
	if got := b.hear(); got != "\x01"+strings.Repeat("i", openingSize-1)+" of a, slot 0" {
		t.Errorf("got %.60q", got)
	}
	b.send("a", "answer")
	if got := a.hear(); got != "answer of b, slot 0" {
		t.Errorf("got %q", got)
	}
	p, err := a.port(key{"b", 0})
	if err != nil {
		t.Fatal(err)
	}
	for p.opening.Load() != nil {
		time.Sleep(time.Millisecond)
	}
}
