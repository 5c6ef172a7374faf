package admin

import (
	"strings"
	"testing"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"google.golang.org/protobuf/proto"
)

// TestAskWhereTheStreamIs: a question goes once to the server that holds the
// node's stream, by what servers wrote; where none does, the answer says why.
func TestAskWhereTheStreamIs(t *testing.T) {
	const away, moving = "node n1 is away: no server hears its agent", "node n1 is on its way from one server to another"
	for _, c := range []struct {
		name    string
		seen    kind.NodeObservation
		servers string // NAME/RUN, those that are gone with a minus
		want    string // in the error; empty: s2 answers
		there   int    // questions handed on
	}{
		{"on s2", kind.NodeObservation{Run: "r2"}, "s1/r1 s2/r2", "", 1},
		{"on s2, which had a life before", kind.NodeObservation{Run: "r2"}, "s2/r0- s2/r2", "", 1},
		{"on s3, which does not answer", kind.NodeObservation{Run: "r3"}, "s2/r2 s3/r3", "server s3 does not answer", 1},
		{"on this one, a moment ago", kind.NodeObservation{Run: "r1"}, "s1/r1", moving, 0},
		{"on a life of s2 that ended", kind.NodeObservation{Run: "r0"}, "s2/r0- s2/r2", away, 0},
		{"on a server that nobody knows", kind.NodeObservation{Run: "r9"}, "s2/r2", moving, 0},
		{"gone", kind.NodeObservation{Run: "r2", Gone: true}, "s2/r2", away, 0},
		{"of a release that wrote no run", kind.NodeObservation{}, "s2/r2", moving, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFabric(t)
			f.join("n1")
			c.seen.HeardUnix, c.seen.Epoch = now.Unix()-1, "e1"
			f.json(kind.ObservedNode("n1"), c.seen)
			for _, s := range strings.Fields(c.servers) {
				at, gone := strings.CutSuffix(s, "-")
				name, run, _ := strings.Cut(at, "/")
				f.json(kind.ObservedServer(name, run), kind.ServerObservation{Run: run, HeardUnix: now.Unix() - 1, Epoch: "e1", Gone: gone})
			}
			r, err := weftv1.NewDiagnoseClient(f.conn).SetLogLevel(t.Context(), &weftv1.DiagnoseSetLogLevelRequest{Node: "n1", Level: "debug", ForSeconds: 60})
			if c.want == "" && (err != nil || r.GetLevel().GetLevel() != "debug") || c.want != "" && !strings.Contains(said(err), c.want) {
				t.Errorf("got  %v, %s\nwant %s", r, said(err), c.want)
			}
			if len(f.asked) != c.there {
				t.Fatalf("handed on %d times", len(f.asked))
			}
			for _, q := range f.asked {
				var sent weftv1.SetLogLevelRequest
				if err := proto.Unmarshal(q.Request, &sent); err != nil || q.Node != "n1" || q.Method != "SetLogLevel" || sent.GetLevel() != "debug" || sent.GetForSeconds() != 60 {
					t.Errorf("%v, %v, %v", q, &sent, err)
				}
			}
		})
	}
	f := newFabric(t)
	if _, err := weftv1.NewNodesClient(f.conn).GetKernel(t.Context(), &weftv1.NodesGetKernelRequest{Node: "n9"}); !strings.Contains(said(err), "NotFound") {
		t.Error(err)
	}
}
