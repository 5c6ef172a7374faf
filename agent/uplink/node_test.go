package uplink

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/agent/uplink/uplinktest"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/join"
)

// node is an agent's uplink under test.
type node struct {
	*Uplink
	changed chan struct{}
	dir     *datadir.Dir
}

func config(f *uplinktest.Fabric, node string, changed chan struct{}) Config {
	return Config{
		Node: node, Servers: []string{"192.0.2.1:7443"}, Log: slog.New(slog.DiscardHandler), Dial: f.Dial,
		Token:    func() (join.Token, error) { return f.Token, nil },
		OnChange: func() { changed <- struct{}{} },
	}
}

func newNode(t *testing.T, f *uplinktest.Fabric, dir string) *node {
	t.Helper()
	d, err := datadir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	changed := make(chan struct{}, 100)
	u, err := New(d, config(f, "n1", changed))
	if err != nil {
		t.Fatal(err)
	}
	u.SetReport(Report{Underlay: []intent.Underlay{{Addr: netip.MustParsePrefix("10.0.0.11/24"), Device: "eth0", MTU: 1500}}, VTEP: u.VTEP()})
	return &node{u, changed, d}
}

// start runs the uplink; the function returned stops it and lets go of the folder.
func (n *node) start(ctx context.Context, t *testing.T) func() {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		n.dir.Close()
	}
}
