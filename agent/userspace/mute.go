package userspace

import (
	"bytes"
	"encoding/hex"
	"strings"

	"golang.zx2c4.com/wireguard/device"
)

// told are the peers whose endpoint was ever set by the socket.
//
// What is for a peer without an endpoint waits in the device, which asks for a session
// with nowhere to send that to, and asks again only after 5 s
// (device.Peer.SendHandshakeInitiation, device.RekeyTimeout). So when such a peer gets
// its first endpoint, what waits asks at once.
type told map[device.NoisePublicKey]bool

// heard takes notice of a request, and returns the peers that were there and get their
// first endpoint by it. What is not well formed is the device's to refuse.
func (t told) heard(body []byte, there func(device.NoisePublicKey) bool) (first []device.NoisePublicKey) {
	var peer device.NoisePublicKey
	for line := range strings.Lines(string(body)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch key {
		case "replace_peers":
			clear(t)
		case "public_key":
			_, _ = hex.Decode(peer[:], []byte(value)[:min(len(value), hex.EncodedLen(len(peer)))])
		case "remove":
			delete(t, peer)
		case "endpoint":
			if !t[peer] && there(peer) {
				first = append(first, peer)
			}
			t[peer] = true
		}
	}
	return first
}

// begin asks peers for a session that have none, if something waits for them.
func (d *Device) begin(peers []device.NoisePublicKey) {
	if len(peers) == 0 {
		return
	}
	var state bytes.Buffer
	if d.wg.IpcGetOperation(&state) != nil {
		return // it asks again by itself
	}
	met := sessions(state.Bytes())
	for _, key := range peers {
		if peer := d.wg.LookupPeer(key); peer != nil && !met[key] {
			peer.ExpireCurrentKeypairs() // there are none: it may ask again
			peer.SendStagedPackets()
		}
	}
}

// sessions are the peers with whom there was ever a handshake.
func sessions(state []byte) map[device.NoisePublicKey]bool {
	out := map[device.NoisePublicKey]bool{}
	var peer device.NoisePublicKey
	for line := range strings.Lines(string(state)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch key {
		case "public_key":
			_, _ = hex.Decode(peer[:], []byte(value)[:min(len(value), hex.EncodedLen(len(peer)))])
		case "last_handshake_time_sec":
			out[peer] = value != "0"
		}
	}
	return out
}
