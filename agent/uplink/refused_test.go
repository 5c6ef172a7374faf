package uplink

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/uplink/uplinktest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A node whose certificate ended too long ago says once, as an error with what to
// do, that it was refused; it asks again ever more slowly and keeps what it holds.
// When the servers let it in after all, it is there within a minute.
func TestRefusedNodeAsksSeldom(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "agent")
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, dir)
		stop := n.start(ctx, t)
		s := <-f.Streams
		s.Tell(t, "e1", 7, "n1", "n2")
		<-n.changed
		stop()
		time.Sleep(60 * 24 * time.Hour)
		f.RefuseFrom(status.Error(codes.PermissionDenied, "the certificate of node n1 ended long ago; let it join again: weft token create --node n1 --replace"))
		n = newNode(t, f, dir)
		var log bytes.Buffer
		n.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
		stop = n.start(ctx, t)
		time.Sleep(time.Hour)
		if _, renews := f.Counts(); renews < 60 || renews > 150 {
			t.Errorf("%d tries in an hour", renews)
		}
		if got := peersOf(n); got != "n1 n2" {
			t.Errorf("peers %q", got)
		}
		ps := n.Problems()
		if len(ps) == 0 || !strings.Contains(ps[0].Cause+ps[0].Remedy, "weft token create --node n1 --replace") {
			t.Errorf("problems: %v", ps)
		}
		f.RefuseFrom(nil)
		select {
		case <-f.Streams:
		case <-time.After(time.Minute + time.Second):
			t.Error("not back within a minute")
		}
		stop()
		if text := log.String(); strings.Count(text, "level=ERROR") != 1 || !strings.Contains(text, "weft token create --node n1 --replace") {
			t.Errorf("log:\n%s", text)
		}
	})
}
