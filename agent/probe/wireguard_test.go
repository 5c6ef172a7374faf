package probe

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/kernel/kerneltest"
	"github.com/weft-net/weft/proto/disco"
	"golang.zx2c4.com/wireguard/conn"
	wg "golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
)

// userspace is a device of wireguard-go, without a link in the kernel.
type userspace struct {
	*wg.Device
	tun     *tuntest.ChannelTUN
	private *ecdh.PrivateKey
	unknown atomic.Int64 // packets that it could not make anything of
	errors  atomic.Int64
}

func newUserspace(t *testing.T) *userspace {
	t.Helper()
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	u := &userspace{tun: tuntest.NewChannelTUN(), private: private}
	u.Device = wg.NewDevice(u.tun.TUN(), conn.NewDefaultBind(), &wg.Logger{
		Verbosef: func(format string, _ ...any) {
			if format == "Received message with unknown type" {
				u.unknown.Add(1)
			}
		},
		Errorf: func(format string, args ...any) { u.errors.Add(1); t.Logf(format, args...) },
	})
	t.Cleanup(u.Close)
	return u
}

// join gives a device its port and its peer.
func (u *userspace) join(t *testing.T, port uint16, peer *userspace, at netip.AddrPort, inside string) {
	t.Helper()
	err := u.IpcSet(fmt.Sprintf("private_key=%s\nlisten_port=%d\npublic_key=%s\nendpoint=%v\nallowed_ip=%s/32\n",
		hex.EncodeToString(u.private.Bytes()), port, hex.EncodeToString(peer.private.PublicKey().Bytes()), at, inside))
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Up(); err != nil {
		t.Fatal(err)
	}
}

// Probes leave from and come to the ports that two devices of wireguard-go hold, which
// drop them and go on carrying packets between.
func TestBesideWireGuard(t *testing.T) {
	kerneltest.Netns(t)
	for _, host := range []string{"127.0.0.1", "::1"} {
		addr := netip.MustParseAddr(host)
		a, b := newUserspace(t), newUserspace(t)
		a.join(t, 51820, b, netip.AddrPortFrom(addr, 51821), "10.1.0.2")
		b.join(t, 51821, a, netip.AddrPortFrom(addr, 51820), "10.1.0.1")
		carry := func() {
			t.Helper()
			m := tuntest.Ping(netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.1.0.1"))
			a.tun.Outbound <- m
			if got := within(t, b.tun.Inbound, "a packet through the tunnel"); string(got) != string(m) {
				t.Errorf("%x came out, %x went in", got, m)
			}
		}
		s := open(t)
		if err := s.Ports([]uint16{51820, 51821}); err != nil {
			t.Fatal(err)
		}
		carry()
		const probes = 50
		for i := range probes {
			m := packet(disco.Magic, disco.Size)
			m[disco.Size-1] = byte(i)
			if err := s.Send(Datagram{Port: 51820, Remote: netip.AddrPortFrom(addr, 51821), Data: m}); err != nil {
				t.Fatal(err)
			}
			d := within(t, s.heard, "a probe")
			if d.Remote != netip.AddrPortFrom(addr, 51820) || d.Port != 51821 || string(d.Data) != string(m) {
				t.Errorf("%s: %+v", host, d)
			}
		}
		carry()
		for begun := time.Now(); b.unknown.Load() < probes && time.Since(begun) < time.Minute; {
			carry() // the device reads its socket in its own time
		}
		if b.unknown.Load() != probes || a.errors.Load()+b.errors.Load() > 0 {
			t.Errorf("%s: the device got %d of %d probes, %d errors", host, b.unknown.Load(), probes, a.errors.Load()+b.errors.Load())
		}
		a.Close()
		b.Close()
	}
}
