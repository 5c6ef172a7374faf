package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/weft-net/weft/proto/disk"
	"github.com/weft-net/weft/proto/note"
)

const (
	serverKeyHead = "weft-server-key-1:" // then base64 of 32 bytes
	serverKeyLen  = 32
	maxServerKey  = 4096 // bytes read of the file
)

// serverKey seals what is secret in the store: AES-256-GCM, a random nonce of 96
// bits before the ciphertext (NIST SP 800-38D; far fewer than 2^32 seals).
type serverKey struct{ secret note.Secret }

// makeServerKey draws a key and writes it to a file.
func makeServerKey(path string) (serverKey, error) {
	b := make([]byte, serverKeyLen)
	_, _ = rand.Read(b) // never fails
	if err := disk.WriteFile(path, []byte(serverKeyHead+base64.StdEncoding.EncodeToString(b)+"\n"), 0o600); err != nil {
		return serverKey{}, fmt.Errorf("identity: %w; the server must be able to write to its data folder (--data-dir)", err)
	}
	return serverKey{note.Secret(b)}, nil
}

// loadServerKey reads the key. Absence is fs.ErrNotExist.
func loadServerKey(path string) (serverKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return serverKey{}, fmt.Errorf("identity: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxServerKey))
	if err != nil {
		return serverKey{}, fmt.Errorf("identity: read %s: %w", path, err)
	}
	key, err := parseServerKey(string(b))
	if err != nil {
		return serverKey{}, fmt.Errorf("identity: %s is damaged: %w; copy it from a backup or from another server of this fabric (it was not touched)", path, err)
	}
	return key, nil
}

func parseServerKey(text string) (serverKey, error) {
	encoded, ok := strings.CutPrefix(strings.TrimSpace(text), serverKeyHead)
	if !ok {
		return serverKey{}, fmt.Errorf("it does not begin with %s", serverKeyHead)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(b) != serverKeyLen {
		return serverKey{}, fmt.Errorf("it does not hold %d bytes in base64", serverKeyLen)
	}
	return serverKey{note.Secret(b)}, nil
}

func (k serverKey) gcm() cipher.AEAD {
	block, err := aes.NewCipher([]byte(k.secret.Reveal()))
	if err != nil {
		panic(err) // the length is checked where keys are made
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return gcm
}

// seal encrypts a secret, bound to the public thing that it belongs to.
func (k serverKey) seal(secret, public []byte) []byte {
	gcm := k.gcm()
	nonce := make([]byte, gcm.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return gcm.Seal(nonce, nonce, secret, public)
}

func (k serverKey) open(sealed, public []byte) ([]byte, error) {
	gcm := k.gcm()
	if len(sealed) < gcm.NonceSize() {
		return nil, errors.New("too short")
	}
	return gcm.Open(nil, sealed[:gcm.NonceSize()], sealed[gcm.NonceSize():], public)
}
