package kernel_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

// wg is a kernel that makes WireGuard devices, by itself if it can and is not asked
// for others, else in this process.
type wg struct {
	*kernel.Kernel
	users *kerneltest.Userspace
	port  *udp // of somebody else
}

func openWG(t testing.TB, by ...string) wg {
	t.Helper()
	kerneltest.Netns(t)
	w := wg{users: kerneltest.NewUserspace(t)}
	k, err := kernel.Open(discard, kernel.Config{Keyring: kerneltest.NewKeyring(), Userspace: w.users, WireGuard: strings.Join(by, "")})
	if err != nil {
		t.Fatal(err)
	}
	w.Kernel = k
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func wgLink(slot uint8, key byte) datapath.Link {
	return datapath.Link{Name: datapath.WGLink(slot), Type: datapath.LinkWG, MTU: 1420, WG: datapath.WG{Key: kerneltest.Key(key), Port: 51820 + uint16(slot)}}
}

func wgPeer(slot uint8, key byte, allowed ...string) datapath.WGPeer {
	var list []netip.Prefix
	for _, p := range allowed {
		list = append(list, pfx(p))
	}
	return datapath.WGPeer{Dev: datapath.WGLink(slot), Peer: kerneltest.Key(key), Allowed: datapath.AllowedText(list)}
}

func TestWireGuardProbe(t *testing.T) {
	w := openWG(t)
	kind, err := w.WireGuard(context.Background())
	if err != nil || kind != kernel.InKernel && kind != kernel.InUserspace {
		t.Fatalf("%q, %v", kind, err)
	}
	t.Log("WireGuard devices are made by:", kind)
	if links := kerneltest.Run(t, "ip -o link"); strings.Count(links, "\n") != 1 {
		t.Errorf("the probe left a device: %s", links)
	}
}

// TestWireGuardChosen: who may make devices is the operator's to say. What another has
// made before is kept, with its keys and peers.
func TestWireGuardChosen(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct{ only, link string }{{kernel.InKernel, "wireguard"}, {kernel.InUserspace, "tun"}} {
		w := openWG(t, c.only)
		switch kind, err := w.WireGuard(ctx); {
		case err != nil || kind != c.only && kind != "":
			t.Errorf("%s: %q, %v", c.only, kind, err)
		case kind == "":
			err := w.Apply(ctx, []datapath.Op{{New: wgLink(0, 1)}})[0]
			if c.only == kernel.InUserspace || err == nil || !strings.Contains(err.Error(), "--wireguard "+c.only) {
				t.Errorf("%s: %v", c.only, err)
			}
			continue
		}
		want := merge(t, []datapath.Object{wgLink(0, 1), wgPeer(0, 10, "10.42.1.0/24")})
		converge(t, w.Kernel, want)
		before := kerneltest.Run(t, "ip -d link show weft-wg0")
		if !strings.Contains(before, "\n    "+c.link+" ") {
			t.Errorf("%s: %s", c.only, before)
		}
		for _, other := range []string{kernel.InKernel, kernel.InUserspace, ""} {
			k, err := kernel.Open(discard, kernel.Config{Keyring: kerneltest.NewKeyring(), Userspace: w.users, WireGuard: other})
			if err != nil {
				t.Fatal(err)
			}
			converge(t, k, want)
			if err := k.Close(); err != nil {
				t.Error(err)
			}
		}
		if after := kerneltest.Run(t, "ip -d link show weft-wg0"); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
	}
}

// TestWireGuardNode is a node with two slots and its peers, made, and made again from
// what is seen.
func TestWireGuardNode(t *testing.T) {
	w := openWG(t)
	one := wgPeer(0, 10, "10.42.1.0/24", "fd42:0:0:1::/64")
	one.Endpoint, one.Keepalive, one.PSK = netip.MustParseAddrPort("192.0.2.1:51820"), 25, kerneltest.PSK(1)
	two := wgPeer(0, 11, "10.42.2.0/24")
	two.Endpoint = netip.MustParseAddrPort("[2001:db8::2]:4500")
	want := merge(t, []datapath.Object{
		wgLink(0, 1), wgLink(1, 2), one, two, wgPeer(1, 12, "10.42.1.0/24"), wgPeer(1, 13),
		datapath.Route{Dst: pfx("10.42.1.0/24"), Dev: datapath.WGLink0, Metric: 8710},
		datapath.Sysctl{Path: "net/ipv4/conf/weft-wg0/rp_filter", Value: "2"},
	})
	converge(t, w.Kernel, want)
	ctx := context.Background()
	if have, err := w.Observe(ctx, datapath.AllKinds); err != nil || len(datapath.Diff(want, have)) > 0 {
		t.Errorf("seen again: %v, %v", err, datapath.Diff(want, have))
	}
	list, err := w.WGPeers(ctx)
	if err != nil || len(list) != 4 {
		t.Fatalf("peers: %v, %v", list, err)
	}
	converge(t, w.Kernel, datapath.State{})
	if list, err := w.WGPeers(ctx); err != nil || len(list) != 0 {
		t.Errorf("after all is gone: %v, %v", list, err)
	}
}

// inTheWay is something of others, which is to be named in the error, and left as it is.
type inTheWay struct {
	name  string
	make  func(t *testing.T, w wg)
	words string // of the error
	away  func(t *testing.T, w wg)
}

func TestWireGuardInTheWay(t *testing.T) {
	for _, tt := range []inTheWay{
		{
			"a socket has the port",
			func(t *testing.T, w wg) { taken(t, w, "udp4") },
			"UDP port 51820 is taken",
			func(t *testing.T, w wg) { w.port.Close() },
		},
		{
			"a socket has the port, for IPv6 only",
			func(t *testing.T, w wg) { taken(t, w, "udp6") },
			"UDP port 51820 is taken",
			func(t *testing.T, w wg) { w.port.Close() },
		},
		{
			"a bridge has the name",
			func(t *testing.T, _ wg) { kerneltest.Run(t, "ip link add weft-wg0 type bridge") },
			"a bridge device of somebody else bears this name",
			func(t *testing.T, _ wg) { kerneltest.Run(t, "ip link delete weft-wg0") },
		},
	} {
		t.Run(tt.name, tt.run)
	}
}

// TestTUNInTheWay needs /dev/net/tun.
func TestTUNInTheWay(t *testing.T) {
	for _, tt := range []inTheWay{
		{
			"a TUN device has the name",
			func(t *testing.T, _ wg) { kerneltest.Run(t, "ip tuntap add weft-wg0 mode tun") },
			"a tuntap device of somebody else bears this name",
			func(t *testing.T, _ wg) { kerneltest.Run(t, "ip tuntap delete weft-wg0 mode tun") },
		},
		{
			"a TUN device has the name, beside the socket of a dead process",
			func(t *testing.T, _ wg) {
				kerneltest.Run(t, "ip tuntap add weft-wg0 mode tun")
				stale(t)
			},
			"a TUN device of somebody else bears this name",
			func(t *testing.T, _ wg) { kerneltest.Run(t, "ip tuntap delete weft-wg0 mode tun") },
		},
	} {
		t.Run(tt.name, tt.run)
	}
}

func (tt inTheWay) run(t *testing.T) {
	w, ctx := openWG(t), context.Background()
	w.port = new(udp)
	tt.make(t, w)
	before := kerneltest.Run(t, "ip -d link show")
	want := merge(t, []datapath.Object{wgLink(0, 1), wgPeer(0, 10, "10.42.1.0/24")})
	errs := w.Apply(ctx, datapath.Diff(want, datapath.State{}))
	if errs[0] == nil || !strings.Contains(errs[0].Error(), tt.words) {
		t.Errorf("%v; no %q", errs[0], tt.words)
	}
	if after := kerneltest.Run(t, "ip -d link show"); strings.Contains(before, "weft-wg0") && after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	tt.away(t, w)
	converge(t, w.Kernel, want)
}

// udp is a socket of somebody else.
type udp struct{ net.PacketConn }

func taken(t *testing.T, w wg, network string) {
	t.Helper()
	c, err := net.ListenPacket(network, ":51820")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	w.port.PacketConn = c
}

// stale leaves the socket of a process that died.
func stale(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll("/var/run/wireguard", 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: "/var/run/wireguard/weft-wg0.sock", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

// TestWireGuardStaleSocket: a socket alone, without a link, is in nobody's way.
func TestWireGuardStaleSocket(t *testing.T) {
	w := openWG(t)
	stale(t)
	t.Cleanup(func() { os.Remove("/var/run/wireguard/weft-wg0.sock") })
	if list, err := w.WGPeers(context.Background()); err != nil || len(list) > 0 {
		t.Errorf("%v, %v", list, err)
	}
	converge(t, w.Kernel, merge(t, []datapath.Object{wgLink(0, 1), wgPeer(0, 10, "10.42.1.0/24")}))
}

// TestWireGuardForeign: a WireGuard device of the host's own is neither seen nor
// touched, also when all of ours goes.
func TestWireGuardForeign(t *testing.T) {
	w := openWG(t)
	ctx := context.Background()
	kind, err := w.WireGuard(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if kind == kernel.InKernel {
		kerneltest.Run(t, "ip link add wg0 type wireguard")
	} else if err := w.users.Start(ctx, "wg0"); err != nil {
		t.Fatal(err)
	}
	kerneltest.Run(t, "ip link set wg0 up")
	kerneltest.Run(t, "ip address add 10.99.0.1/24 dev wg0")
	before := kerneltest.Run(t, "ip address show dev wg0")
	converge(t, w.Kernel, merge(t, []datapath.Object{wgLink(0, 1), wgLink(1, 2), wgPeer(0, 10, "10.42.1.0/24")}))
	converge(t, w.Kernel, datapath.State{})
	if after := kerneltest.Run(t, "ip address show dev wg0"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// TestWireGuardUnknownKeys: a key that the node does not have is that step's fault alone.
func TestWireGuardUnknownKeys(t *testing.T) {
	w, ctx := openWG(t), context.Background()
	converge(t, w.Kernel, merge(t, []datapath.Object{wgLink(0, 1)}))
	unknown := wgPeer(0, 10, "10.42.1.0/24")
	unknown.PSK = [32]byte{7}
	errs := w.Apply(ctx, []datapath.Op{{New: wgLink(1, kerneltest.Seeds)}, {New: unknown}, {New: wgPeer(0, 11, "10.42.2.0/24")}})
	for i, words := range []string{"wireguard.json", "sha256:07000000", ""} {
		if words == "" && errs[i] != nil || words != "" && (errs[i] == nil || !strings.Contains(errs[i].Error(), words)) {
			t.Errorf("step %d: %v; want %q", i, errs[i], words)
		}
	}
	if list, err := w.WGPeers(ctx); err != nil || len(list) != 1 {
		t.Errorf("peers: %v, %v", list, err)
	}
}

// TestOnlyDifferences: what goes to a device by its socket. No request ever replaces
// its peers, and none a peer's prefixes but the one that makes it.
func TestOnlyDifferences(t *testing.T) {
	w, ctx := openWG(t, kernel.InUserspace), context.Background() // whose requests go by a socket
	link, wide, a, b := wgLink(0, 1), wgLink(0, 1), wgPeer(0, 10, "10.42.1.0/24", "10.42.2.0/24"), wgPeer(0, 11, "10.42.3.0/24")
	wide.MTU = 1500
	moved := a
	moved.Endpoint = netip.MustParseAddrPort("192.0.2.1:51820")
	given, got := wgPeer(0, 10, "10.42.1.0/24"), wgPeer(0, 11, "10.42.2.0/24", "10.42.3.0/24")
	less := wgPeer(0, 11, "10.42.3.0/24")
	replace, remove := regexp.MustCompile(`replace_peers`), regexp.MustCompile(`public_key=[0-9a-f]{64}\nremove=true`)
	key := func(seed byte) string { k := kerneltest.Key(seed); return fmt.Sprintf("public_key=%x\n", k[:]) }
	for _, step := range []struct {
		name string
		ops  []datapath.Op
		want []string // requests; the key of the peer that takes what nobody is to have is ?
	}{
		{"a device", []datapath.Op{{New: link}}, []string{"listen_port=51820\n"}},
		{"the same", []datapath.Op{{New: link}}, nil},
		{"another MTU", []datapath.Op{{Old: link, New: wide}}, nil},
		{"two peers", []datapath.Op{{New: a}, {New: b}}, []string{
			key(10) + "persistent_keepalive_interval=0\nreplace_allowed_ips=true\nallowed_ip=10.42.1.0/24\nallowed_ip=10.42.2.0/24\n" +
				key(11) + "persistent_keepalive_interval=0\nreplace_allowed_ips=true\nallowed_ip=10.42.3.0/24\n",
		}},
		{"an endpoint", []datapath.Op{{Old: a, New: moved}}, []string{key(10) + "update_only=true\nendpoint=192.0.2.1:51820\n"}},
		{"a prefix to another peer", []datapath.Op{{Old: a, New: given}, {Old: b, New: got}}, []string{
			key(10) + "update_only=true\n" + key(11) + "update_only=true\nallowed_ip=10.42.2.0/24\n",
		}},
		{"a prefix to nobody", []datapath.Op{{Old: got, New: less}}, []string{
			"public_key=?\nallowed_ip=10.42.2.0/24\npublic_key=?\nremove=true\n" + key(11) + "update_only=true\n",
		}},
		{"a peer gone", []datapath.Op{{Old: less}}, []string{key(11) + "remove=true\n"}},
	} {
		w.users.Requests()
		for i, err := range w.Apply(ctx, step.ops) {
			if err != nil {
				t.Errorf("%s: %v: %v", step.name, step.ops[i], err)
			}
		}
		got := w.users.Requests()
		for i, r := range got {
			if replace.MatchString(r) {
				t.Errorf("%s: %s", step.name, r)
			}
			if k := remove.FindString(r); k != "" && step.name == "a prefix to nobody" {
				got[i] = strings.ReplaceAll(r, k[len("public_key="):len("public_key=")+64], "?")
			}
		}
		if d := cmp.Diff(step.want, got); d != "" {
			t.Errorf("%s: %s", step.name, d)
		}
	}
}

// TestWireGuardSecrets: nothing that is shown of devices and peers has a secret in it.
func TestWireGuardSecrets(t *testing.T) {
	w, ctx := openWG(t), context.Background()
	p := wgPeer(0, 10, "10.42.1.0/24")
	p.PSK = kerneltest.PSK(1)
	want := merge(t, []datapath.Object{wgLink(0, 1), p})
	converge(t, w.Kernel, want)
	have, err := w.Observe(ctx, datapath.AllKinds)
	if err != nil {
		t.Fatal(err)
	}
	list, err := w.WGPeers(ctx)
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v\n%+v\n%#v\n%v\n%s", datapath.Diff(nil, have), have, have, list, kerneltest.Text(have))
	private := kerneltest.Private(1)
	psk, _ := kerneltest.NewKeyring().Preshared(p.PSK)
	for _, secret := range [][32]byte{private, psk} {
		for _, form := range []string{fmt.Sprintf("%x", secret[:8]), base64.StdEncoding.EncodeToString(secret[:])[:12], strings.Trim(fmt.Sprint(secret[:8]), "[]"), strings.Trim(fmt.Sprintf("%#v", secret[:8]), "[]byte{}")} {
			if strings.Contains(shown, form) {
				t.Errorf("%q is shown", form)
			}
		}
	}
}

// TestWireGuardNothingLost: whatever is changed of others, a peer keeps what it has
// sent: it was never made anew.
func TestWireGuardNothingLost(t *testing.T) {
	w, ctx := openWG(t), context.Background()
	sink, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	quiet, other := wgPeer(0, 10, "10.42.1.0/24"), wgPeer(0, 11, "10.42.2.0/24", "10.42.3.0/24")
	quiet.Endpoint, quiet.Keepalive = sink.LocalAddr().(*net.UDPAddr).AddrPort(), 3600
	converge(t, w.Kernel, merge(t, []datapath.Object{wgLink(0, 1), quiet, other}))
	if err := sink.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := sink.ReadFrom(make([]byte, 2048)); err != nil {
		t.Fatalf("no handshake: %v", err)
	}
	sent := func() uint64 {
		t.Helper()
		list, err := w.WGPeers(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			if p.Peer == quiet.Peer {
				return p.Sent
			}
		}
		t.Fatal("the peer is gone")
		return 0
	}
	before := sent()
	if before == 0 {
		t.Fatal("a handshake is not counted")
	}
	wide := wgLink(0, 1)
	wide.MTU, wide.WG.Mark, wide.WG.Port = 1380, 7, 51830
	for _, want := range [][]datapath.Object{
		{wgLink(0, 1), quiet},
		{wgLink(0, 1), quiet, other, wgPeer(0, 12, "10.42.4.0/24")},
		{wgLink(0, 1), quiet, wgPeer(0, 11, "10.42.2.0/24"), wgPeer(0, 12, "10.42.3.0/24")},
		{wide, quiet, wgPeer(0, 11)},
		{wgLink(0, 1), wgPeer(0, 10, "10.42.1.0/24", "10.42.2.0/24")},
		{wgLink(0, 1), wgPeer(0, 10)},
	} {
		converge(t, w.Kernel, merge(t, want))
		if now := sent(); now < before {
			t.Fatalf("sent %d bytes, then %d, after %v", before, now, want)
		}
	}
}
