package kernel_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

// wg is a kernel that makes WireGuard devices, by itself if it can, else in this
// process.
type wg struct {
	*kernel.Kernel
	keys  *kerneltest.Keyring
	users *kerneltest.Userspace
}

func openWG(t testing.TB) wg {
	t.Helper()
	kerneltest.Netns(t)
	w := wg{keys: &kerneltest.Keyring{}, users: kerneltest.NewUserspace(t)}
	k, err := kernel.Open(discard, kernel.Config{Keyring: w.keys, Userspace: w.users})
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

func (w wg) link(slot uint8, key byte) datapath.Link {
	return datapath.Link{Name: datapath.WGLink(slot), Type: datapath.LinkWG, MTU: 1420, WG: datapath.WG{Key: w.keys.Key(key), Port: 51820 + uint16(slot)}}
}

func (w wg) peer(slot uint8, key byte, allowed ...string) datapath.WGPeer {
	var list []netip.Prefix
	for _, p := range allowed {
		list = append(list, pfx(p))
	}
	return datapath.WGPeer{Dev: datapath.WGLink(slot), Peer: w.keys.Key(key), Allowed: datapath.AllowedText(list)}
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

// TestWireGuardNode is a node with two slots and its peers, made, and made again from
// what is seen.
func TestWireGuardNode(t *testing.T) {
	w := openWG(t)
	one := w.peer(0, 10, "10.42.1.0/24", "fd42:0:0:1::/64")
	one.Endpoint, one.Keepalive, one.PSK = netip.MustParseAddrPort("192.0.2.1:51820"), 25, w.keys.PSK(1)
	two := w.peer(0, 11, "10.42.2.0/24")
	two.Endpoint = netip.MustParseAddrPort("[2001:db8::2]:4500")
	want := merge(t, []datapath.Object{
		w.link(0, 1), w.link(1, 2), one, two, w.peer(1, 12, "10.42.1.0/24"), w.peer(1, 13),
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
