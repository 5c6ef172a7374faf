package join

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

const good = "weft1.0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.abcdefghij.abcdefghijklmnopqrstuvwxyz234567"

func TestParseToken(t *testing.T) {
	cases := []struct{ name, text, want string }{
		{"OK", good, ""},
		{"OK with the file's newline", "\n" + good + " \n", ""},
		{"bad: empty", " \n", "the token is empty"},
		{"bad: cut in the secret", good[:len(good)-1], fmt.Sprintf("cut short: %d of %d characters", len(good)-1, len(good))},
		{"bad: cut in the version", "wef", "cut short: 3 of"},
		{"bad: only the version", "weft1", "cut short: 5 of"},
		{"bad: too long", good + "x", "is there something after it?"},
		{"bad: two tokens", good + "\n" + good, "is there something after it?"},
		{"bad: of K3s", "K10a45b::server:c0ffee", "a token of K3s or RKE2"},
		{"bad: of kubeadm", "abcdef.0123456789abcdef", "no weft token"},
		{"bad: of a newer release", "weft2" + good[5:], "newer format (weft2)"},
		{"bad: upper case", strings.ToUpper(good), "no weft token"},
		{"bad: hash", strings.Replace(good, "0123", "012g", 1), "part 2 of the token, the CA's hash"},
		{"bad: id", strings.Replace(good, ".abcdefghij.", ".abcdefghi0.", 1), "part 3 of the token, its id"},
		{"bad: secret", good[:len(good)-1] + "1", "part 4 of the token, the secret"},
		{"bad: an address", "https://10.0.0.1:7443", "an address or a path"},
		{"bad: a path", "/var/lib/weft/server/agent-token", "--token-file"},
	}
	for _, c := range cases {
		_, err := ParseToken(c.text)
		if got := fmt.Sprint(err); c.want == "" && err != nil || !strings.Contains(got, c.want) && c.want != "" {
			t.Errorf("%s: want %q, got %v", c.name, c.want, err)
		}
		if err != nil && strings.Contains(err.Error(), "uvwxyz234567") {
			t.Errorf("%s: the error tells the secret: %v", c.name, err)
		}
	}
}

func TestTokenKeepsItsSecret(t *testing.T) {
	token := NewToken(newCA(t).cert)
	if got := fmt.Sprintf("%v %+v %#v %s", token, token, token, &token); strings.Contains(got, token.Secret.Reveal()) {
		t.Errorf("a print tells the secret: %s", got)
	}
	again, err := ParseToken(token.Reveal())
	if err != nil || again != token {
		t.Errorf("%s does not survive a round trip: %v", token, err)
	}
	path := filepath.Join(t.TempDir(), "token")
	if err := token.Save(path); err != nil {
		t.Fatal(err)
	}
	if again, err := LoadToken(path); err != nil || again != token {
		t.Errorf("%s does not survive its file: %v", token, err)
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(good)
	f.Add("K10abc::server:x")
	f.Add("weft1...")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseToken(text)
		if err == nil && token.Reveal() != strings.TrimSpace(text) {
			t.Errorf("%q was read as %q", text, token.Reveal())
		}
	})
}
