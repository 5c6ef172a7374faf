package push

import (
	"context"
	"testing"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"google.golang.org/protobuf/proto"
)

// FuzzStream: whatever one agent says, in any order, is answered by an end of its
// stream or taken within bounds; the hub serves the next one.
func FuzzStream(f *testing.F) {
	seed := func(ms ...*weftv1.SyncRequest) {
		var b []byte
		for _, m := range ms {
			one, err := proto.Marshal(m)
			if err != nil {
				f.Fatal(err)
			}
			b = append(append(b, byte(len(one)>>8), byte(len(one))), one...)
		}
		f.Add(b)
	}
	up := &weftv1.SyncRequest{Message: &weftv1.SyncRequest_Hello{Hello: hello("n1", 1)}}
	seed(up)
	seed(up, up)
	seed(up,
		&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Ack{Ack: &weftv1.Ack{Epoch: "e1", Revision: 2}}},
		&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Report{Report: hello("n1", 7).GetReport()}},
		&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Problems{Problems: &weftv1.ProblemReport{Problems: []*weftv1.Problem{{Subject: "s", Cause: "c"}}}}},
		&weftv1.SyncRequest{Message: &weftv1.SyncRequest_ObjectError{ObjectError: &weftv1.ObjectError{Collection: "peers", Key: "Node//n2", Error: "e"}}},
		&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Endpoints{Endpoints: &weftv1.EndpointDelta{Full: true, Upsert: []*weftv1.EndpointRecord{{Key: "n1/c1/eth0", Addresses: []string{"10.0.0.1"}}}, Remove: []string{"n1/c2/eth0"}}}},
		&weftv1.SyncRequest{})
	seed(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Ack{Ack: &weftv1.Ack{}}})
	f.Fuzz(func(t *testing.T, b []byte) {
		fab := newFabric(t, nil)
		a := fab.dial("n1")
		defer func() { a.gone(); <-a.end }()
		go func() {
			for {
				select {
				case <-a.down:
				case <-a.ctx.Done():
					return
				}
			}
		}()
		for len(b) >= 2 {
			n := min(int(b[0])<<8|int(b[1]), len(b)-2)
			m := &weftv1.SyncRequest{}
			if proto.Unmarshal(b[2:2+n], m) == nil {
				select {
				case a.up <- m:
				case <-a.end:
					return
				}
			}
			b = b[2+n:]
		}
		s, ok := fab.hub.Status("n1")
		if !ok {
			return // no hello was taken yet
		}
		if len(s.Problems) > 2*maxProblems || len(s.ObjectErrors) > maxObjectErrors || s.Endpoints > maxEndpoints {
			t.Errorf("beyond its bounds: %d problems, %d object errors, %d endpoints", len(s.Problems), len(s.ObjectErrors), s.Endpoints)
		}
		if e, err := fab.store.Get(context.Background(), kind.Key(kind.Report, "", "n1")); err == nil {
			var spec kind.ReportSpec
			if _, err := kind.Decode(e.Value, &spec); err != nil || len(spec.Addresses) == 0 {
				t.Errorf("stored a report that is none: %s, %v", e.Value, err)
			}
		}
	})
}
