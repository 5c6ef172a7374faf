package echo

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"time"

	wire "github.com/weft-net/weft/proto/echo"
)

// who is a node as its cookie names it, so that the name does not travel.
type who [8]byte

// baker makes cookies: end in Unix seconds 8 | who 8 | AES-256 of these 16. For
// messages of just one block a block cipher is itself a message authentication code,
// being a pseudorandom function, and quick to check in a flood.
type baker struct{ block cipher.Block }

func newBaker() baker {
	var secret [32]byte
	_, _ = rand.Read(secret[:])
	block, _ := aes.NewCipher(secret[:]) // of 32 bytes: no error
	return baker{block}
}

func (b baker) bake(node string, ends time.Time) wire.Cookie {
	var c wire.Cookie
	binary.BigEndian.PutUint64(c[:], uint64(ends.Unix()))
	name := sha256.Sum256([]byte(node))
	copy(c[8:16], name[:])
	b.block.Encrypt(c[16:], c[:16])
	return c
}

// good answers whose a cookie is.
func (b baker) good(c wire.Cookie, now time.Time) (who, bool) {
	var want [aes.BlockSize]byte
	b.block.Encrypt(want[:], c[:16])
	ok := subtle.ConstantTimeCompare(want[:], c[16:]) == 1 && now.Unix() < int64(binary.BigEndian.Uint64(c[:]))
	return who(c[8:16]), ok
}
