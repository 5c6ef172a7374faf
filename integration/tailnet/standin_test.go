package tailnet

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/weft-net/weft/agent/tailscale/tailscaletest"
	"github.com/weft-net/weft/integration/lab"
)

// TestSuite holds the real program to what the stand-in is held to in make test, so
// that what passes with the one passes with the other.
func TestSuite(t *testing.T) {
	n := newTailnet(t, 1)
	h := n.Nodes[0]
	tailscaletest.Suite(t, tailscaletest.Subject{
		URL: n.control.url,
		Run: func(_ *testing.T, args ...string) (string, string, bool) {
			var out, words bytes.Buffer
			cmd := h.Command(n.ctx, append([]string{"tailscale"}, args...)...)
			cmd.Stdout, cmd.Stderr = &out, &words
			err := cmd.Run()
			return out.String(), words.String(), err == nil
		},
		Key: func(t *testing.T) string {
			key, err := n.control.key(n.ctx)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte(key+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		},
		Expire: func(t *testing.T) {
			now, err := ask(n.ctx, h)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := n.control.run(n.ctx, "nodes", "expire", "--identifier", now.Self.ID); err != nil {
				t.Fatal(err)
			}
			if err := lab.Until(n.ctx, "logged out", func() (string, error) {
				now, err := ask(n.ctx, h)
				if err == nil && now.BackendState != "NeedsLogin" {
					err = lab.ErrNotYet
				}
				return now.BackendState, err
			}); err != nil {
				t.Fatal(err)
			}
		},
	})
}
