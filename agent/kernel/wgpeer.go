package kernel

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weft-net/weft/agent/datapath"
)

// peers takes the steps on peers of one device, from i on, in one request, and says
// where they end. What a device refuses as a whole is taken again step by step, so
// that one refusal is no other's.
func (k *hands) peers(ctx context.Context, ops []datapath.Op, i int, errs []error) (next int) {
	dev, removes := peerOf(ops[i]).Dev, ops[i].New == nil
	for next = i; next < len(ops); next++ {
		if ops[next].Key().Kind != datapath.KindWGPeer || peerOf(ops[next]).Dev != dev || (ops[next].New == nil) != removes {
			break
		}
	}
	var list []datapath.Op
	var at []int
	for j := i; j < next; j++ {
		if _, err := k.preshared(ops[j]); err != nil {
			errs[j] = fmt.Errorf("kernel: %v: %w", ops[j], err)
			continue
		}
		list, at = append(list, ops[j]), append(at, j)
	}
	if len(list) == 0 || k.changePeers(ctx, dev, list) == nil {
		return next
	}
	for j, op := range list {
		if err := k.changePeers(ctx, dev, list[j:j+1]); err != nil && !(op.New == nil && isGone(err)) {
			errs[at[j]] = fmt.Errorf("kernel: %v: %w", op, err)
		}
	}
	return next
}

func peerOf(op datapath.Op) datapath.WGPeer {
	if op.New == nil {
		return op.Old.(datapath.WGPeer)
	}
	return op.New.(datapath.WGPeer)
}

// changePeers sends what steps change of one device's peers.
func (k *hands) changePeers(ctx context.Context, dev string, ops []datapath.Op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := wgtypes.Config{}
	free, err := k.freed(ctx, dev, ops)
	if err != nil {
		return err
	}
	if len(free) > 0 {
		c.Peers = discard(free)
	}
	at, err := k.rekeyed(ctx, dev, ops)
	if err != nil {
		return err
	}
	for _, op := range ops {
		if to, ok := at[peerOf(op).Peer]; ok {
			op = anew(op, to)
			c.Peers = append(c.Peers, wgtypes.PeerConfig{PublicKey: wgtypes.Key(peerOf(op).Peer), Remove: true})
		}
		p, err := k.peerConfig(op)
		if err != nil {
			return err
		}
		c.Peers = append(c.Peers, p)
	}
	err = k.configure(ctx, dev, false, c)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("device %s: %w", dev, err)
	}
	return err
}

// peerConfig is what a step changes of a peer. What is not named stays: the endpoint
// too, which follows the peer, unless it is to be set.
func (k *Kernel) peerConfig(op datapath.Op) (wgtypes.PeerConfig, error) {
	want := peerOf(op)
	c := wgtypes.PeerConfig{PublicKey: wgtypes.Key(want.Peer)}
	if op.New == nil {
		c.Remove = true
		return c, nil
	}
	psk, err := k.preshared(op)
	if err != nil {
		return c, err
	}
	keepalive := time.Duration(want.Keepalive) * time.Second
	if want.Endpoint.IsValid() {
		c.Endpoint = net.UDPAddrFromAddrPort(want.Endpoint)
	}
	have, known := op.Old.(datapath.WGPeer)
	if !known {
		c.PresharedKey, c.PersistentKeepaliveInterval, c.ReplaceAllowedIPs = &psk, &keepalive, true
		c.AllowedIPs, err = ipNets(allowed(want))
		return c, err
	}
	c.UpdateOnly = true // one that went meanwhile is not made anew from half of it
	if have.Keepalive != want.Keepalive {
		c.PersistentKeepaliveInterval = &keepalive
	}
	c.AllowedIPs, err = ipNets(without(allowed(want), allowed(have)))
	return c, err
}

// rekeyed are the peers whose pre-shared key becomes another, and where the device sends
// to them now. They are made anew: WireGuard asks for the key in handshakes only, and
// would keep a session that was begun with another, or with none, for three minutes
// (WireGuard, section 6.1, Reject-After-Time).
func (k *hands) rekeyed(ctx context.Context, dev string, ops []datapath.Op) (map[datapath.WGKey]netip.AddrPort, error) {
	var out map[datapath.WGKey]netip.AddrPort
	for _, op := range ops {
		have, known := op.Old.(datapath.WGPeer)
		if want, ok := op.New.(datapath.WGPeer); ok && known && have.PSK != want.PSK {
			if out == nil {
				out = map[datapath.WGKey]netip.AddrPort{}
			}
			out[want.Peer] = netip.AddrPort{}
		}
	}
	if out == nil {
		return nil, nil
	}
	seen, err := k.lookAt(ctx, dev, false)
	if err != nil {
		return nil, err
	}
	for _, p := range seen.peers {
		if _, ok := out[p.Peer]; ok {
			out[p.Peer] = p.Endpoint
		}
	}
	return out, nil
}

// anew is a step that makes a peer as it should be, where it is sent to already.
func anew(op datapath.Op, to netip.AddrPort) datapath.Op {
	want := peerOf(op)
	if !want.Endpoint.IsValid() {
		want.Endpoint = to
	}
	return datapath.Op{New: want}
}

// preshared is the pre-shared key that a step wants; zero for none.
func (k *Kernel) preshared(op datapath.Op) (key wgtypes.Key, err error) {
	want, ok := op.New.(datapath.WGPeer)
	if !ok || want.PSK == ([32]byte{}) {
		return key, nil
	}
	if k.wg.keyring != nil {
		if psk, ok := k.wg.keyring.Preshared(want.PSK); ok {
			return psk, nil
		}
	}
	return key, fmt.Errorf("the pre-shared key sha256:%x is not among the node's keys (wireguard.json)", want.PSK[:4])
}

// freed are the prefixes that peers which stay give up, and which no other has got or
// is about to get. Whose they are now is asked of the device: a step may be older.
func (k *hands) freed(ctx context.Context, dev string, ops []datapath.Op) ([]netip.Prefix, error) {
	taken, givers := map[string]bool{}, map[datapath.WGKey][]string{}
	for _, op := range ops {
		want, ok := op.New.(datapath.WGPeer)
		if !ok {
			continue
		}
		have, known := op.Old.(datapath.WGPeer)
		for _, p := range allowed(want) {
			taken[p] = true
		}
		if gone := without(allowed(have), allowed(want)); known && len(gone) > 0 {
			givers[want.Peer] = gone
		}
	}
	if len(givers) == 0 {
		return nil, nil
	}
	seen, err := k.lookAt(ctx, dev, false)
	if err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, p := range seen.peers {
		for _, text := range givers[p.Peer] {
			if !taken[text] && slices.Contains(allowed(p), text) {
				prefix, err := netip.ParsePrefix(text)
				if err != nil {
					return nil, err
				}
				out = append(out, prefix)
			}
		}
	}
	return out, nil
}

// discard takes prefixes from whoever has them, by giving them to a peer that is made
// for it and goes at once. To replace a peer's list instead would leave the peer
// without any for a moment, in which packets are lost; to take single prefixes away
// needs Linux 6.16 (WGALLOWEDIP_F_REMOVE_ME).
func discard(list []netip.Prefix) []wgtypes.PeerConfig {
	var key wgtypes.Key
	_, _ = rand.Read(key[:]) // never fails
	nets := make([]net.IPNet, len(list))
	for i, p := range list {
		nets[i] = *ipNet(p)
	}
	return []wgtypes.PeerConfig{{PublicKey: key, AllowedIPs: nets}, {PublicKey: key, Remove: true}}
}

// allowed is a peer's list of prefixes, as text.
func allowed(p datapath.WGPeer) []string {
	if p.Allowed == "" {
		return nil
	}
	return strings.Split(p.Allowed, ",")
}

func without(list, gone []string) (out []string) {
	for _, s := range list {
		if !slices.Contains(gone, s) {
			out = append(out, s)
		}
	}
	return out
}

func ipNets(list []string) ([]net.IPNet, error) {
	out := make([]net.IPNet, 0, len(list))
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("allowed-ips: %w", err)
		}
		out = append(out, *ipNet(p))
	}
	return out, nil
}
