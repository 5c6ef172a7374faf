package userspace

import (
	"net/netip"
	"reflect"
	"testing"

	"golang.zx2c4.com/wireguard/conn"
)

// TestBindOffloads: packets are taken and given in batches as large as wireguard-go's
// own, and what the kernel segments of UDP (UDP_SEGMENT, UDP_GRO) it does for both
// families, whichever of the two sockets sends.
func TestBindOffloads(t *testing.T) {
	b, own := NewBind().(*bind), conn.NewStdNetBind().(*conn.StdNetBind)
	if b.BatchSize() != own.BatchSize() {
		t.Errorf("batches of %d, wireguard-go's of %d", b.BatchSize(), own.BatchSize())
	}
	if _, _, err := own.Open(0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { own.Close() })
	fns, _, err := b.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	if len(fns) == 0 {
		t.Error("nobody receives")
	}
	flag := func(s *conn.StdNetBind, name string) bool { return reflect.ValueOf(s).Elem().FieldByName(name).Bool() }
	for _, f := range []struct {
		of   *conn.StdNetBind
		name string
	}{{b.StdNetBind, "ipv4TxOffload"}, {b.StdNetBind, "ipv4RxOffload"}, {b.StdNetBind, "ipv6RxOffload"}, {b.six, "ipv6TxOffload"}} {
		if got, want := flag(f.of, f.name), flag(own, f.name); got != want {
			t.Errorf("%s: %v; wireguard-go has %v", f.name, got, want)
		}
	}
}

// TestBindBatch: a batch of packets to an address of each family arrives, packet by
// packet and in its order, though the kernel cuts it from one.
func TestBindBatch(t *testing.T) {
	for _, at := range []string{"127.0.0.1", "::1"} {
		from, to := NewBind(), NewBind()
		if _, _, err := from.Open(0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { from.Close() })
		fns, port, err := to.Open(0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { to.Close() })
		ep, err := from.ParseEndpoint(netip.AddrPortFrom(netip.MustParseAddr(at), port).String())
		if err != nil {
			t.Fatal(err)
		}
		const count = 20
		var sent [][]byte
		for i := range count {
			p := make([]byte, 1000, 1<<16)
			p[0] = byte(i)
			sent = append(sent, p)
		}
		if err := from.Send(sent, ep); err != nil {
			t.Fatal(err)
		}
		family := fns[0]
		if ep.DstIP().Is6() {
			family = fns[1]
		}
		for next := 0; next < count; {
			bufs, sizes, eps := make([][]byte, to.BatchSize()), make([]int, to.BatchSize()), make([]conn.Endpoint, to.BatchSize())
			for i := range bufs {
				bufs[i] = make([]byte, 1<<16)
			}
			n, err := family(bufs, sizes, eps)
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if sizes[i] == 0 {
					continue
				}
				if sizes[i] != 1000 || bufs[i][0] != byte(next) {
					t.Fatalf("%s: packet %d has %d bytes and begins with %d", at, next, sizes[i], bufs[i][0])
				}
				next++
			}
		}
	}
}
