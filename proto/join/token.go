package join

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/weft-net/weft/proto/disk"
	"github.com/weft-net/weft/proto/note"
)

// Lengths of a token's parts in characters. They are fixed, so that a token that
// was cut short is known as such.
const (
	hashLen   = 2 * sha256.Size // hex
	idLen     = 10              // base32, 50 bits
	secretLen = 32              // base32, 160 bits
	version   = "weft1"
	tokenLen  = len(version) + 1 + hashLen + 1 + idLen + 1 + secretLen
	maxToken  = 4096 // bytes read of a token file
)

// remedy ends the errors of tokens that can only be replaced.
const remedy = "get one from a server: its <data-dir>/agent-token, or weft token create"

// alphabet is RFC 4648 base32 in lower case: what base32 makes of random bytes.
const alphabet = "abcdefghijklmnopqrstuvwxyz234567"

var encoding = base32.NewEncoding(alphabet).WithPadding(base32.NoPadding)

// Token lets a machine join. It is written weft1.<ca-hash>.<id>.<secret>.
type Token struct {
	CAHash string      // hex SHA-256 of the CA's SubjectPublicKeyInfo
	ID     string      // names the token in lists and logs
	Secret note.Secret // high entropy: a plain hash of it may be stored
}

// serverMark begins the id of a server token, and of no other: whoever holds one
// in place of an agents' token is told before it is sent anywhere.
const serverMark = "server"

// NewToken draws an agents' token for a CA.
func NewToken(ca *x509.Certificate) Token {
	t := Token{CAHash: Hash(ca), ID: draw(idLen), Secret: note.Secret(draw(secretLen))}
	for t.ForServer() {
		t.ID = draw(idLen)
	}
	return t
}

// NewServerToken draws a token by which a further server joins.
func NewServerToken(ca *x509.Certificate) Token {
	return Token{CAHash: Hash(ca), ID: serverMark + draw(idLen-len(serverMark)), Secret: note.Secret(draw(secretLen))}
}

// ForServer says that a token makes servers, not nodes.
func (t Token) ForServer() bool { return strings.HasPrefix(t.ID, serverMark) }

// draw returns n random characters. crypto/rand.Read never fails.
func draw(n int) string {
	b := make([]byte, encoding.DecodedLen(n)+1)
	_, _ = rand.Read(b)
	return encoding.EncodeToString(b)[:n]
}

// Hash is what a token pins: hex SHA-256 of a certificate's public key (RFC 7469
// section 2.4), so that the CA's certificate can be renewed under the same key.
func Hash(ca *x509.Certificate) string {
	sum := sha256.Sum256(ca.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// Reveal is the token as it is written into its file.
func (t Token) Reveal() string {
	return strings.Join([]string{version, t.CAHash, t.ID, t.Secret.Reveal()}, ".")
}

// String hides the secret.
func (t Token) String() string {
	return strings.Join([]string{version, t.CAHash, t.ID, t.Secret.String()}, ".")
}

// ParseToken reads a token. Space around it is ignored. Errors never repeat what
// was given: it may be a secret of something else.
func ParseToken(text string) (Token, error) {
	text = strings.TrimSpace(text)
	if err := foreign(text); err != nil {
		return Token{}, err
	}
	parts := strings.Split(text, ".")
	if len(text) < tokenLen || len(parts) < 4 {
		return Token{}, fmt.Errorf("join: the token is cut short: %d of %d characters; copy it whole, or %s", len(text), tokenLen, remedy)
	}
	if len(text) > tokenLen || len(parts) > 4 {
		return Token{}, fmt.Errorf("join: the token is %d characters long, not %d; is there something after it? %s", len(text), tokenLen, remedy)
	}
	t := Token{CAHash: parts[1], ID: parts[2], Secret: note.Secret(parts[3])}
	switch {
	case !consists(t.CAHash, hashLen, "0123456789abcdef"):
		return Token{}, part(2, "the CA's hash", hashLen, "hexadecimal digits")
	case !consists(t.ID, idLen, alphabet):
		return Token{}, part(3, "its id", idLen, "characters of a-z and 2-7")
	case !consists(t.Secret.Reveal(), secretLen, alphabet):
		return Token{}, part(4, "the secret", secretLen, "characters of a-z and 2-7")
	}
	return t, nil
}

func part(n int, what string, length int, of string) error {
	return fmt.Errorf("join: part %d of the token, %s, is not %d %s; copy it again, or %s", n, what, length, of, remedy)
}

// foreign recognises what people paste instead of a token of this version.
func foreign(text string) error {
	switch head, _, _ := strings.Cut(text, "."); {
	case text == "":
		return errors.New("join: the token is empty; " + remedy)
	case strings.HasPrefix(text, "K10"):
		return errors.New("join: this is a token of K3s or RKE2 (K10...); weft has its own, which starts with " + version + ".: " + remedy)
	case strings.HasPrefix(text, "https://") || strings.HasPrefix(text, "/"):
		return errors.New("join: this is an address or a path, not a token; a file with a token is given with --token-file")
	case head != version && len(head) == len(version) && strings.HasPrefix(head, "weft"):
		return fmt.Errorf("join: this token is of a newer format (%s); run a newer weft-agent", head)
	case head != version && !strings.HasPrefix(version, head):
		return errors.New("join: this is no weft token: those start with " + version + ".; " + remedy)
	}
	return nil
}

func consists(s string, length int, of string) bool {
	return len(s) == length && strings.Trim(s, of) == ""
}

// LoadToken reads a token from a file.
func LoadToken(path string) (Token, error) {
	f, err := os.Open(path)
	if err != nil {
		return Token{}, fmt.Errorf("join: token file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxToken))
	if err != nil {
		return Token{}, fmt.Errorf("join: token file: %w", err)
	}
	t, err := ParseToken(string(b))
	if err != nil {
		return Token{}, fmt.Errorf("%w (read from %s)", err, path)
	}
	return t, nil
}

// Save writes the token to a file, 0600.
func (t Token) Save(path string) error {
	return disk.WriteFile(path, []byte(t.Reveal()+"\n"), 0o600)
}
