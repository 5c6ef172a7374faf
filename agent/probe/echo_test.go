package probe

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

func TestEcho(t *testing.T) {
	kerneltest.Netns(t)
	for _, c := range []struct {
		to       string
		received int
	}{{"127.0.0.1", 3}, {"::1", 3}} {
		to := netip.MustParseAddr(c.to)
		r, err := Echo(t.Context(), to, to, 3)
		if err != nil || r.Sent != 3 || r.Received != c.received || r.RTT <= 0 {
			t.Errorf("%s: %+v, %v", c.to, r, err)
		}
	}
	if _, err := Echo(t.Context(), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("127.0.0.1"), 1); err == nil {
		t.Error("sent from an address that is not there")
	}
}

// An example of RFC 1071, section 3.
func TestChecksum(t *testing.T) {
	if got := checksum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}); got != ^uint16(0xddf2) {
		t.Errorf("%#x", got)
	}
}

func FuzzAnswers(f *testing.F) {
	request := message(false, [10]byte{1, 2, 3}, 7)
	reply := append([]byte(nil), request...)
	reply[0] = reply4
	f.Add(reply)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if answers(b, request) && (len(b) < len(request) || binary.BigEndian.Uint16(b[6:]) != 7) {
			t.Errorf("%x answers", b)
		}
	})
}
