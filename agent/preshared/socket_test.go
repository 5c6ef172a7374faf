package preshared

import (
	"net/netip"
	"os"
	"testing"

	wire "github.com/weft-net/weft/proto/preshared"
)

// TestSocket: what is sent by a device comes by one, from whom it says; a device that is
// not there sends nothing.
func TestSocket(t *testing.T) {
	pid := os.Getpid() // others may test on this machine
	at := func(last byte) netip.Addr {
		return netip.AddrFrom4([4]byte{127, byte(pid>>8) | 1, byte(pid), last})
	}
	from, err := listen(t.Context(), at(1))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := listen(t.Context(), at(2))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := listen(t.Context(), at(2)); err == nil {
		t.Error("the port was opened twice")
	}
	if err := from.Send("lo", at(2), []byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, wire.MaxSize)
	n, who, dev, err := to.Receive(b)
	if err != nil || string(b[:n]) != "hello" || who != at(1) || dev != "lo" {
		t.Errorf("%q from %v by %q: %v", b[:n], who, dev, err)
	}
	if err := from.Send("weft-t-none", at(2), []byte("hello")); err == nil {
		t.Error("sent by a device that is not there")
	}
	if name, err := to.(*socket).device(1 << 30); err == nil {
		t.Errorf("a device that is not there is %q", name)
	}
}
