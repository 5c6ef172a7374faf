package uplink

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/agent/uplink/uplinktest"
	"github.com/weft-net/weft/proto/intent"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// joined leaves a folder that was joined as n1.
func joined(ctx context.Context, t *testing.T, f *uplinktest.Fabric, dir string) {
	t.Helper()
	n := newNode(t, f, dir)
	stop := n.start(ctx, t)
	s := <-f.Streams
	s.Tell(t, "e1", 7, "n1", "n2")
	<-n.changed
	stop()
}

// under opens a folder under a name.
func under(t *testing.T, f *uplinktest.Fabric, dir, name string) *node {
	t.Helper()
	d, err := datadir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	changed := make(chan struct{}, 100)
	u, err := New(d, config(f, name, changed))
	if err != nil {
		t.Fatal(err)
	}
	u.SetReport(Report{Underlay: []intent.Underlay{{Addr: netip.MustParsePrefix("10.0.0.11/24"), Device: "eth0", MTU: 1500}}, VTEP: u.VTEP()})
	return &node{u, changed, d}
}

// A node name that only this machine's flags changed is refused by the servers,
// with the line to run.
func TestNodeNameChanged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "agent")
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		joined(ctx, t, f, dir)
		f.RefuseFrom(status.Error(codes.NotFound, "node n2 is not recorded; let it join with a token"))
		n := under(t, f, dir, "n2")
		defer n.dir.Close()
		err := n.Run(ctx)
		if held, ok := n.Intent(); ok {
			t.Errorf("acts on the intent of another node: %v", held)
		}
		for _, want := range []string{`belongs to node "n1", not "n2"`, "n2 is not recorded", "weft rename node n1 n2", "--node-name n1"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("want %q, got %v", want, err)
			}
		}
	})
}

// A node that was renamed shows its key under the new name, and is that node from
// then on; a crash after it changes nothing.
func TestRenamedNodeComesUnderItsNewName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "agent")
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		joined(ctx, t, f, dir)
		for range 2 {
			n := under(t, f, dir, "n2")
			stop := n.start(ctx, t)
			s := <-f.Streams
			if name := s.Hello.GetNode(); name != "n2" {
				t.Errorf("it comes as %q", name)
			}
			if got := n.identity().cert.Subject.CommonName; got != "n2" {
				t.Errorf("its certificate is %q's", got)
			}
			if held, ok := n.Intent(); !ok || held.Revision != 7 {
				t.Errorf("what it held under the name of before counts no more: %v", held)
			}
			stop()
		}
		joins, renews := f.Counts()
		if joins != 1 || renews != 1 {
			t.Errorf("%d joins, %d renewals; want one of each", joins, renews)
		}
	})
}
