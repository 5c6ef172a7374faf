package main

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/userspace"
)

const (
	peerCount = 1000
	changes   = 100 // of an endpoint, a round

	sockets    = "/var/run/wireguard/"
	bareDevice = "bare0"
)

// keyring has the one key of the device.
type keyring struct {
	public  datapath.WGKey
	private [32]byte
}

// Private implements kernel.Keyring.
func (k keyring) Private(pub datapath.WGKey) ([32]byte, bool) { return k.private, pub == k.public }

// Preshared implements kernel.Keyring.
func (k keyring) Preshared([32]byte) ([32]byte, bool) { return [32]byte{}, false }

func newKeyring() (keyring, error) {
	key, err := keyOf(0)
	if err != nil {
		return keyring{}, err
	}
	return keyring{datapath.WGKey(key.PublicKey().Bytes()), [32]byte(key.Bytes())}, nil
}

// keyOf makes a key of a number; it is no secret.
func keyOf(n int) (*ecdh.PrivateKey, error) {
	seed := make([]byte, 32)
	binary.BigEndian.PutUint32(seed[8:], uint32(n+1))
	seed[31] = 64 // as WireGuard gives it back (RFC 7748 section 5)
	return ecdh.X25519().NewPrivateKey(seed)
}

// wants are the device without peers, and with all of them.
func wants(k keyring) (link, full datapath.State, err error) {
	objects := []datapath.Object{datapath.Link{Name: datapath.WGLink0, Type: datapath.LinkWG, MTU: 1420, WG: datapath.WG{Key: k.public, Port: 51820}}}
	if link, err = datapath.Merge(objects); err != nil {
		return nil, nil, err
	}
	for i := range peerCount {
		key, err := keyOf(i + 1)
		if err != nil {
			return nil, nil, err
		}
		hi, lo := byte(i>>8), byte(i)
		objects = append(objects, datapath.WGPeer{
			Dev: datapath.WGLink0, Peer: datapath.WGKey(key.PublicKey().Bytes()),
			Endpoint: netip.AddrPortFrom(netip.AddrFrom4([4]byte{172, 16, hi, lo}), 51820),
			Allowed: datapath.AllowedText([]netip.Prefix{
				netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64 + hi, lo, 0}), 24),
				netip.MustParsePrefix(fmt.Sprintf("fd42:0:0:%x::/64", i+1)),
			}),
		})
	}
	full, err = datapath.Merge(objects)
	return link, full, err
}

// uapi is a request that makes all peers of a state.
func uapi(s datapath.State) []byte {
	var b bytes.Buffer
	b.WriteString("set=1\n")
	for _, o := range s {
		if p, ok := o.(datapath.WGPeer); ok {
			fmt.Fprintf(&b, "public_key=%x\nendpoint=%v\nreplace_allowed_ips=true\n", p.Peer[:], p.Endpoint)
			for a := range strings.SplitSeq(p.Allowed, ",") {
				fmt.Fprintf(&b, "allowed_ip=%s\n", a)
			}
		}
	}
	b.WriteString("\n")
	return b.Bytes()
}

// peersRole measures on a host of its own, and prints a mesh1000.
func peersRole(ctx context.Context, bin, bare string, rounds int) error {
	k, err := newKeyring()
	if err != nil {
		return err
	}
	var m mesh1000
	m.Peers = peerCount
	if err := count(ctx, k, &m); err != nil {
		return fmt.Errorf("count: %w", err)
	}
	r := &racers{keyring: k}
	defer r.close()
	if err := r.open(ctx, bin, bare); err != nil {
		return err
	}
	for range rounds {
		if err := r.round(ctx, &m); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}

// here makes devices in this process, and hears what they are asked.
type here struct {
	dev   *userspace.Device
	asked asked
}

// Start implements kernel.Userspace.
func (h *here) Start(_ context.Context, dev string) (err error) {
	h.dev, err = userspace.Open(dev, userspace.Config{Heard: h.hear})
	return err
}

// Stop implements kernel.Userspace.
func (h *here) Stop(context.Context, string) error {
	h.dev.Close()
	return nil
}

// Mend implements kernel.Userspace.
func (h *here) Mend(string) (process, line string) { return "this process", "end it" }

func (h *here) hear(request []byte) {
	h.asked.Requests++
	for text := range strings.Lines(string(request)) {
		switch name, _, _ := strings.Cut(text, "="); name {
		case "public_key":
			h.asked.Peers++
		case "endpoint":
			h.asked.Endpoints++
		case "replace_peers":
			h.asked.Replaces++
		}
	}
}

// count applies everything once to a device that tells what it was asked.
func count(ctx context.Context, k keyring, m *mesh1000) error {
	h := &here{}
	drv, err := driver(ctx, k, h)
	if err != nil {
		return err
	}
	defer drv.Close()
	link, full, err := wants(k)
	if err != nil {
		return err
	}
	if err := apply(ctx, drv, link); err != nil {
		return err
	}
	defer h.dev.Close()
	h.asked = asked{}
	if err := apply(ctx, drv, full); err != nil {
		return err
	}
	m.ApplyAsked, h.asked = h.asked, asked{}
	if err := errors.Join(drv.Apply(ctx, []datapath.Op{{Old: one(full), New: moved(one(full), 1024)}})...); err != nil {
		return err
	}
	m.ChangeAsked = h.asked
	return nil
}

// driver is the agent's, where a process makes WireGuard devices.
func driver(ctx context.Context, k keyring, u kernel.Userspace) (*kernel.Kernel, error) {
	drv, err := kernel.Open(slog.New(slog.DiscardHandler), kernel.Config{Keyring: k, Userspace: u})
	if err != nil {
		return nil, err
	}
	kind, err := drv.WireGuard(ctx)
	if err == nil && kind != kernel.InUserspace {
		err = fmt.Errorf("WireGuard devices are made by %q here: what goes to them is not seen; run it where the kernel has no WireGuard", kind)
	}
	if err != nil {
		return nil, errors.Join(err, drv.Close())
	}
	return drv, nil
}

// apply is a turn of the agent's loop: look, compare, do.
func apply(ctx context.Context, drv *kernel.Kernel, want datapath.State) error {
	have, err := drv.Observe(ctx, datapath.Of(datapath.KindLink, datapath.KindWGPeer))
	if err != nil {
		return err
	}
	return errors.Join(drv.Apply(ctx, datapath.Diff(want, have))...)
}

// one is a peer in the middle.
func one(s datapath.State) (out datapath.WGPeer) {
	for _, o := range s {
		if p, ok := o.(datapath.WGPeer); ok && strings.HasPrefix(p.Allowed, "10.65.244.0/24") {
			out = p
		}
	}
	return out
}

// moved gives a peer's endpoint another port.
func moved(p datapath.WGPeer, port uint16) datapath.WGPeer {
	p.Endpoint = netip.AddrPortFrom(p.Endpoint.Addr(), port)
	return p
}
