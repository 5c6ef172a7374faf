package tailscaletest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestStandIn holds the stand-in to the suite. The real program is held to it by make
// test-tailscale.
func TestStandIn(t *testing.T) {
	d := &Daemon{Keys: map[string]int{}}
	Suite(t, Subject{
		URL: "https://control.example",
		Run: func(_ *testing.T, args ...string) (string, string, bool) {
			var out, words bytes.Buffer
			err := d.Call(args, &out, &words)
			if err != nil {
				words.WriteString(err.Error())
			}
			return out.String(), words.String(), err == nil
		},
		Key: func(t *testing.T) string {
			d.Keys["good"]++
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte("good\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		},
		Expire: func(*testing.T) { d.Backend = "NeedsLogin" },
	})
}
