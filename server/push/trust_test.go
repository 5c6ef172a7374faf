package push

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// book notes who trusts a root, once it knows of that root.
type book struct {
	mu    sync.Mutex
	root  string // "": none yet
	noted []string
}

func (b *book) Trust(string, []string) *weftv1.Trust { return nil }

func (b *book) Trusts(node string, roots []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.root != "" && slices.Contains(roots, b.root) && !slices.Contains(b.noted, node) {
		b.noted = append(b.noted, node)
	}
}

// An agent that learned of a root from another server says so once: a server that
// hears of the root only later remembers what was said.
func TestTrustIsHeardBeforeTheRootIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		f := newFabric(t, func(c *Config) { c.Trust = b })
		n1 := f.join(hello("n1", 1))
		n1.hear()
		n1.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Trusts{Trusts: &weftv1.Trusts{Roots: []string{"new", "old"}}}})
		n1.hear()
		b.mu.Lock()
		if len(b.noted) > 0 {
			t.Errorf("noted %v without a rotation", b.noted)
		}
		b.root = "new"
		b.mu.Unlock()
		f.hub.Retrust()
		n1.hear()
		if !slices.Equal(b.noted, []string{"n1"}) {
			t.Errorf("noted %v", b.noted)
		}
		f.stop()
	})
}
