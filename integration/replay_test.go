package integration

import (
	"context"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/weft-net/weft/integration/lab"
)

// ahead is how much later than now a forged handshake says that it is: from then on the
// clock of the node that it is in the name of went back by so much.
const ahead = time.Hour

// replay FROM TO: TO's WireGuard device gets a handshake of FROM's, with FROM's key and
// an hour in the future. All of FROM's own are replays to it from then on, as after a
// boot without a clock.
func (s *scenario) replay(ctx context.Context, args []string) (string, error) {
	if len(args) != 2 {
		return "", errors.New("replay: FROM TO")
	}
	from, err := s.host(args[0])
	if err != nil {
		return "", err
	}
	to, err := s.host(args[1])
	if err != nil {
		return "", err
	}
	own, _, err := wireguardKey(from)
	if err != nil {
		return "", err
	}
	theirs, port, err := wireguardKey(to)
	if err != nil {
		return "", err
	}
	packet, err := initiation(own, theirs.PublicKey(), time.Now().Add(ahead))
	if err != nil {
		return "", err
	}
	file := filepath.Join(from.Dir(), "initiation")
	if err := os.WriteFile(file, packet, 0o600); err != nil {
		return "", err
	}
	return from.Run(ctx, "bash", "-c", fmt.Sprintf("cat %s >/dev/udp/%s/%d", file, s.NodeIPs(to)[0], port))
}

// wireguardKey is that of a node's first slot, with its port.
func wireguardKey(h *lab.Host) (*ecdh.PrivateKey, uint16, error) {
	b, err := os.ReadFile(filepath.Join(h.Dir(), "data", "wireguard.json"))
	if err != nil {
		return nil, 0, err
	}
	var keys struct {
		Slots []struct {
			Port    uint16
			Private []byte
		}
	}
	if err := json.Unmarshal(b, &keys); err != nil || len(keys.Slots) == 0 {
		return nil, 0, fmt.Errorf("%s has no key: %w", h.Name, err)
	}
	key, err := ecdh.X25519().NewPrivateKey(keys.Slots[0].Private)
	return key, keys.Slots[0].Port, err
}

// noise is the state of a handshake (WireGuard, section 5.4).
type noise struct{ chain, hash [32]byte }

func (n *noise) mix(b []byte) { n.hash = blake2s.Sum256(append(n.hash[:], b...)) }

// key mixes a secret into the chain, and gives a key for one message.
func (n *noise) key(secret []byte) []byte {
	prk := hashed(n.chain[:], secret)
	first := hashed(prk, []byte{1})
	n.chain = [32]byte(first)
	return hashed(prk, append(first, 2))
}

// seal encrypts, and mixes in what came of it.
func (n *noise) seal(key, plain []byte) ([]byte, error) {
	aead, err := chacha20poly1305.New(key)
	if err != nil {
		return nil, err
	}
	out := aead.Seal(nil, make([]byte, chacha20poly1305.NonceSize), plain, n.hash[:])
	n.mix(out)
	return out, nil
}

// hashed is HMAC of BLAKE2s.
func hashed(key, b []byte) []byte {
	m := hmac.New(func() hash.Hash {
		h, err := blake2s.New256(nil)
		if err != nil {
			panic(err) // only a key can be wrong
		}
		return h
	}, key)
	m.Write(b)
	return m.Sum(nil)
}

// initiation is the first message of a handshake (WireGuard, section 5.4.2), at a time.
func initiation(own *ecdh.PrivateKey, peer *ecdh.PublicKey, at time.Time) ([]byte, error) {
	n := noise{chain: blake2s.Sum256([]byte("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"))}
	n.hash = n.chain
	n.mix([]byte("WireGuard v1 zx2c4 Jason@zx2c4.com"))
	n.mix(peer.Bytes())
	passing, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	out := binary.LittleEndian.AppendUint32(nil, 1) // type
	out = append(out, "weft"...)                    // sender's index, any
	out = append(out, passing.PublicKey().Bytes()...)
	n.key(passing.PublicKey().Bytes())
	n.mix(passing.PublicKey().Bytes())
	for _, part := range []struct {
		own   *ecdh.PrivateKey
		plain []byte
	}{{passing, own.PublicKey().Bytes()}, {own, tai64n(at)}} {
		secret, err := part.own.ECDH(peer)
		if err != nil {
			return nil, err
		}
		sealed, err := n.seal(n.key(secret), part.plain)
		if err != nil {
			return nil, err
		}
		out = append(out, sealed...)
	}
	label := blake2s.Sum256(append([]byte("mac1----"), peer.Bytes()...))
	mac, err := blake2s.New128(label[:])
	if err != nil {
		return nil, err
	}
	mac.Write(out)
	return append(mac.Sum(out), make([]byte, blake2s.Size128)...), nil
}

// tai64n is a time as WireGuard writes it: seconds since 1970 and 2^62 and the ten of
// 1972, nanoseconds, big-endian (cr.yp.to/libtai/tai64.html).
func tai64n(t time.Time) []byte {
	b := binary.BigEndian.AppendUint64(nil, 1<<62+10+uint64(t.Unix()))
	return binary.BigEndian.AppendUint32(b, uint32(t.Nanosecond()))
}
