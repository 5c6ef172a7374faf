package agent

import (
	"context"
	"net"
	"os"
	"testing"

	"github.com/weft-net/weft/agent/detached"
	"github.com/weft-net/weft/agent/relay/apart"
)

// TestRelayWaits: a relay process that ends is waited for, one that listens is used, and
// one of which neither is true is there, and in the way.
func TestRelayWaits(t *testing.T) {
	for _, tt := range []struct {
		name               string
		held, socket, ends bool
		there, listens     bool
	}{
		{name: "none"},
		{name: "one that listens", held: true, socket: true, there: true, listens: true},
		{name: "one that ends", held: true, ends: true},
		{name: "one whose socket was taken away", held: true, there: true},
		{name: "a socket that nobody of ours holds", socket: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "relay") // a path of a test's folder is too long for a socket
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			if tt.socket {
				l, err := net.Listen("unix", apart.Socket(dir))
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
			}
			ended := make(chan struct{})
			if tt.held {
				lock, err := detached.Try(apart.Lock(dir))
				if err != nil {
					t.Fatal(err)
				}
				go func() {
					defer close(ended)
					if !tt.ends {
						<-t.Context().Done()
					}
					detached.Release(apart.Lock(dir), lock)
				}()
			} else {
				close(ended)
			}
			there, listens := relayStarter{kind: relayKind(dir)}.wait(context.Background())
			if there != tt.there || listens != tt.listens {
				t.Errorf("there %v, listens %v", there, listens)
			}
			t.Cleanup(func() { <-ended })
		})
	}
}
