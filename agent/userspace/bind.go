package userspace

import (
	"fmt"
	"net/netip"
	"reflect"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/conn"
)

// bind is wireguard-go's sockets, with three things mended.
//
// StdNetBind.Send keeps addresses for reuse, and one that was last of IPv4 takes just
// four bytes of an IPv6 address: packets of a device with peers of both families go to
// addresses that nobody meant. So IPv6 is sent by a second StdNetBind, which has the
// sockets of the first and addresses of its own.
//
// A packet goes from the address to which the peer sent last. When that address is
// gone, or the way to the peer is another, wireguard-go finds out by a listener that
// asks for each peer's route with each route of the host's that changes, where pods'
// come and go all day. Here the kernel chooses the source again for settling after an
// address has gone or a default route has changed, and at once when it refuses one.
//
// What asks for a session is asked again soon: see openings.
type bind struct {
	*conn.StdNetBind // opens, receives, and sends IPv4
	six              *conn.StdNetBind
	unsettled        atomic.Int64 // Unix nanoseconds until which no source is taken for granted
	openings         *openings
}

const settling = 5 * time.Second

// NewBind makes the sockets of a device.
func NewBind() conn.Bind {
	b := &bind{StdNetBind: conn.NewStdNetBind().(*conn.StdNetBind), six: conn.NewStdNetBind().(*conn.StdNetBind)}
	b.openings = newOpenings(func(packet []byte, to netip.AddrPort) {
		if e, err := b.ParseEndpoint(to.String()); err == nil {
			_ = b.write([][]byte{packet}, e) // the device asks again by itself
		}
	})
	return b
}

// shared are the fields of the IPv6 socket in a StdNetBind.
var shared = []string{"ipv6", "ipv6PC", "ipv6TxOffload", "ipv6RxOffload", "blackhole6"}

// share gives the IPv6 socket of the first to the second.
func (b *bind) share() error {
	from, to := reflect.ValueOf(b.StdNetBind).Elem(), reflect.ValueOf(b.six).Elem()
	for _, name := range shared {
		f, t := from.FieldByName(name), to.FieldByName(name)
		if !f.IsValid() {
			return fmt.Errorf("userspace: this wireguard-go's StdNetBind has no %s", name)
		}
		// Reflection sets no field of another package's but by its address.
		reflect.NewAt(t.Type(), t.Addr().UnsafePointer()).Elem().Set(reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem())
	}
	return nil
}

// Open implements conn.Bind. Nothing is sent meanwhile: Device.BindUpdate holds a lock.
func (b *bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	fns, actual, err := b.StdNetBind.Open(port)
	if err != nil {
		return nil, 0, err
	}
	if err := b.share(); err != nil {
		_ = b.StdNetBind.Close()
		return nil, 0, err
	}
	b.openings.open()
	for i, receive := range fns {
		fns[i] = func(packets [][]byte, sizes []int, from []conn.Endpoint) (int, error) {
			n, err := receive(packets, sizes, from)
			for i := range n {
				if !b.openings.came(packets[i][:sizes[i]], from[i]) {
					sizes[i] = 0 // the device passes over it
				}
			}
			return n, err
		}
	}
	return fns, actual, nil
}

// Close implements conn.Bind.
func (b *bind) Close() error {
	b.openings.close()
	err := b.StdNetBind.Close()
	b.six = conn.NewStdNetBind().(*conn.StdNetBind)
	return err
}

// Send implements conn.Bind.
func (b *bind) Send(bufs [][]byte, to conn.Endpoint) error {
	if until := b.unsettled.Load(); until != 0 {
		if time.Now().UnixNano() < until {
			to.ClearSrc()
		} else {
			b.unsettled.CompareAndSwap(until, 0)
		}
	}
	b.openings.sent(bufs, to)
	return b.write(bufs, to)
}

// write sends by the socket of the address's family.
func (b *bind) write(bufs [][]byte, to conn.Endpoint) error {
	by := b.StdNetBind
	if to.DstIP().Is6() {
		by = b.six
	}
	err := by.Send(bufs, to)
	if err != nil && to.SrcIP().IsValid() {
		to.ClearSrc()
		return by.Send(bufs, to)
	}
	return err
}

// moved says that an address of the host has gone, or that its way out is another.
func (b *bind) moved() { b.unsettled.Store(time.Now().Add(settling).UnixNano()) }
