package kernel

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weft-net/weft/agent/datapath"
)

// wgDevice is a WireGuard device as it was seen, without its secrets.
type wgDevice struct {
	wg     datapath.WG
	peers  []datapath.WGPeer
	status []WGPeerStatus
}

// WGPeerStatus is what a WireGuard device knows of a peer.
type WGPeerStatus struct {
	Dev       string
	Peer      datapath.WGKey
	Endpoint  netip.AddrPort // where it is sent; zero: not known
	Handshake time.Time      // the last, by this node's clock; zero: none
	Received  uint64         // bytes of datagrams with data, keepalives and handshakes
	Sent      uint64         // bytes, likewise
	PSK       [32]byte       // SHA-256 of the pre-shared key; zero: none
}

// WGPeers lists all peers of our WireGuard devices. Of a device that does not answer
// there are none, and an error beside those of the other.
func (k *Kernel) WGPeers(ctx context.Context) ([]WGPeerStatus, error) {
	var out []WGPeerStatus
	var errs []error
	for _, dev := range []string{datapath.WGLink0, datapath.WGLink1} {
		d, err := k.lookAt(ctx, dev, false)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ECONNREFUSED) { // a socket whose process died
			errs = append(errs, fmt.Errorf("kernel: peers of %s: %w", dev, err))
		}
		out = append(out, d.status...)
		if ctx.Err() != nil {
			break // the other was not asked
		}
	}
	return out, errors.Join(errs...)
}

// lookWireGuard looks at our WireGuard devices. One that does not answer is as one
// that is not there.
func (k *Kernel) lookWireGuard(ctx context.Context, d *devices) error {
	d.wg = map[string]wgDevice{}
	for _, l := range d.ours {
		if typeOf(l) != datapath.LinkWG {
			continue
		}
		seen, err := k.lookAt(ctx, l.Attrs().Name, isInKernel(l))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			d.wg[l.Attrs().Name] = seen
		}
	}
	return nil
}

func isInKernel(l netlink.Link) bool { return l.Type() == datapath.LinkWG }

// lookAt reads one device. One that is not there is fs.ErrNotExist.
func (k *Kernel) lookAt(ctx context.Context, dev string, inKernel bool) (out wgDevice, err error) {
	ctx, cancel := context.WithTimeout(ctx, wgPatience)
	defer cancel()
	seen := make(chan wgDevice, 1) // not out: a late answer must not write to it
	if err := k.ask(ctx, dev, inKernel, func(c *wgctrl.Client) error {
		d, err := c.Device(dev)
		if err == nil {
			seen <- newWGDevice(d)
		}
		return err
	}); err != nil {
		return out, wgError(err)
	}
	return <-seen, nil
}

func (k *Kernel) observeWGPeers(d *devices, s datapath.State) error {
	for _, dev := range d.wg {
		for _, p := range dev.peers {
			s[p.Key()] = p
		}
	}
	return nil
}

func newWGDevice(d *wgtypes.Device) wgDevice {
	out := wgDevice{wg: datapath.WG{Port: uint16(d.ListenPort), Mark: uint32(d.FirewallMark)}}
	if d.PrivateKey != (wgtypes.Key{}) {
		out.wg.Key = datapath.WGKey(d.PublicKey)
	}
	for _, p := range d.Peers {
		o := datapath.WGPeer{
			Dev: d.Name, Peer: datapath.WGKey(p.PublicKey), Endpoint: addrPort(p.Endpoint),
			Allowed: datapath.AllowedText(prefixes(p.AllowedIPs)), Keepalive: int(p.PersistentKeepaliveInterval / time.Second),
		}
		if p.PresharedKey != (wgtypes.Key{}) {
			o.PSK = sha256.Sum256(p.PresharedKey[:])
		}
		out.peers = append(out.peers, o)
		out.status = append(out.status, WGPeerStatus{
			Dev: d.Name, Peer: o.Peer, Endpoint: o.Endpoint, Handshake: p.LastHandshakeTime,
			Received: uint64(p.ReceiveBytes), Sent: uint64(p.TransmitBytes), PSK: o.PSK,
		})
	}
	return out
}

func addrPort(a *net.UDPAddr) netip.AddrPort {
	if a == nil {
		return netip.AddrPort{}
	}
	p := a.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

func prefixes(list []net.IPNet) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(list))
	for _, n := range list {
		if p, ok := prefix(&n); ok {
			out = append(out, p)
		}
	}
	return out
}

// wgError finds the number in an error of a process, which wgctrl gives as text.
func wgError(err error) error {
	if err == nil {
		return nil
	}
	if _, n, ok := strings.Cut(err.Error(), "errno="); ok {
		if n, nerr := strconv.Atoi(n); nerr == nil && n != 0 {
			return unix.Errno(max(n, -n))
		}
	}
	return err
}
