package userspace

import (
	"strings"
	"testing"

	"golang.zx2c4.com/wireguard/device"
)

// TestTold: which peers get their first endpoint by a request.
func TestTold(t *testing.T) {
	a, b := strings.Repeat("0a", 32), strings.Repeat("0b", 32)
	there := map[device.NoisePublicKey]bool{}
	there[device.NoisePublicKey([]byte(strings.Repeat("\x0a", 32)))] = true
	told := told{}
	for _, tt := range []struct {
		request string // lines with blanks between
		first   int
	}{
		{"public_key=" + b + " endpoint=192.0.2.1:1", 0}, // a new peer
		{"public_key=" + a + " allowed_ip=10.42.2.0/24", 0},
		{"public_key=" + a + " endpoint=192.0.2.1:1", 1},
		{"public_key=" + a + " endpoint=192.0.2.1:2", 0},
		{"public_key=" + a + " remove=true", 0},
		{"public_key=" + b + " endpoint=192.0.2.1:1 public_key=" + a + " endpoint=192.0.2.1:2", 1},
		{"replace_peers=true public_key=" + a + " endpoint=192.0.2.1:2", 1},
		{"public_key=xy endpoint= public_key endpoint", 0},
	} {
		body := strings.ReplaceAll(tt.request, " ", "\n") + "\n"
		if got := told.heard([]byte(body), func(k device.NoisePublicKey) bool { return there[k] }); len(got) != tt.first {
			t.Errorf("%s: %d first endpoints, want %d", tt.request, len(got), tt.first)
		}
	}
}

// TestBadNames: what is no name of a device touches no file.
func TestBadNames(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../x", "a/b", "a b", "a\nb", "a:1", "wg%d", "wg\x00", "wgé", "sixteen-letters-"} {
		if d, err := Open(name, Config{}); err == nil {
			d.Close()
			t.Errorf("%q was opened", name)
		} else if !strings.Contains(err.Error(), "no name of a device") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
