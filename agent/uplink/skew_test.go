package uplink

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/agent/uplink/uplinktest"
	"github.com/weft-net/weft/proto/skew"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

func welcome(protocol uint32) *weftv1.SyncResponse {
	return &weftv1.SyncResponse{Message: &weftv1.SyncResponse_Welcome{Welcome: &weftv1.Welcome{Version: "9.9.9", Protocol: protocol}}}
}

func TestServersOfOtherReleases(t *testing.T) {
	for _, c := range []struct {
		name  string
		hears []*weftv1.SyncResponse
		wants string // in the node's problems; none if empty
	}{
		{"before protocols", nil, ""},
		{"ours", []*weftv1.SyncResponse{welcome(skew.Protocol())}, ""},
		{"the next but one", []*weftv1.SyncResponse{welcome(skew.Protocol() + 2)}, ""},
		{"a later one", []*weftv1.SyncResponse{welcome(skew.Protocol() + 3)}, "is too old for the server of release 9.9.9, which serves protocols 3 to 6; upgrade weft-agent on this node"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
				n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
				defer n.start(ctx, t)()
				s := <-f.Streams
				s.Say(t, c.hears...)
				if c.wants == "" {
					s.Tell(t, "e1", 7, "n1")
				}
				synctest.Wait()
				got := ""
				for _, p := range n.Problems() {
					got += p.Cause + "; " + p.Remedy
				}
				if (got == "") != (c.wants == "") || !strings.Contains(got, c.wants) {
					t.Errorf("problems %q, want %q", got, c.wants)
				}
				if c.wants == "" {
					return
				}
				sent := time.Now()
				<-f.Streams
				if d := time.Since(sent); d < skewWait || d > 2*skewWait {
					t.Errorf("asked again after %v", d)
				}
			})
		})
	}
}
