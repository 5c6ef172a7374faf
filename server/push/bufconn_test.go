package push

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
)

// TestOverGRPC: the frames that are encoded once are what a real client reads.
func TestOverGRPC(t *testing.T) {
	f := newFabric(t, nil)
	dial := serve(t, f)
	n1 := stream1(t, dial, hello("n1", 1))
	got := n1.until(t, 0)
	if fmt.Sprint(got) != "[begin set ClusterConfig//default set Node//n1 end complete]" {
		t.Error(got)
	}
	rev := f.peer("n2", 2)
	if got := n1.until(t, rev); got[len(got)-2] != "set Node//n2" {
		t.Error(got)
	}
}

// TestAClientThatStopsReading: gRPC's own flow control stalls the stream, and the
// others do not notice.
func TestAClientThatStopsReading(t *testing.T) {
	f := newFabric(t, func(c *Config) { c.Dead = 2 * time.Second; c.Heartbeat = 50 * time.Millisecond })
	dial := serve(t, f)
	n1, n2 := stream1(t, dial, hello("n1", 1)), stream1(t, dial, hello("n2", 2))
	n1.until(t, 0)
	n2.until(t, 0)
	n2.follow()
	go func() { // n1 says that it lives, and reads nothing
		for n1.stream.Send(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Heartbeat{}}) == nil {
			time.Sleep(50 * time.Millisecond)
		}
	}()
	labels := map[string]string{}
	for i := range 60 {
		labels[fmt.Sprint(i)] = strings.Repeat("x", 1000)
	}
	for i := 0; ; i++ {
		rev := f.put(kind.Report, "n2", kind.ReportSpec{Addresses: []kind.ReportAddress{{Address: netip.MustParsePrefix("192.0.2.2/24"), MTU: 1500 + i%1000}}, Labels: labels})
		n2.wait(t, rev)
		if s, _ := f.hub.Status("n1"); !s.Connected {
			return
		}
	}
}

// BenchmarkJoin is how long after a node's join the last of N agents knows of it,
// over gRPC in memory. Agents are in this process too: their reading is in it.
func BenchmarkJoin(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := newFabric(b, func(c *Config) { c.Hellos, c.Dead = n, time.Minute }) // a loaded machine is not what is measured
			dial := serve(b, f)
			clients := make([]*client, n)
			var all sync.WaitGroup
			for i := range clients {
				all.Go(func() {
					h := hello(fmt.Sprint("n", i), i%250+1)
					h.Collections = everything
					clients[i] = stream1(b, dial, h)
				})
				if i%32 == 31 {
					all.Wait()
				}
			}
			all.Wait()
			for _, c := range clients {
				c.follow()
				c.wait(b, f.hub.Revision())
			}
			i := 0
			for b.Loop() {
				i++
				rev := f.peer("x", i)
				for _, c := range clients {
					c.wait(b, rev)
				}
			}
		})
	}
}

func serve(t testing.TB, f *fabric) func() *grpc.ClientConn {
	l := bufconn.Listen(1 << 20)
	s := grpc.NewServer()
	weftv1.RegisterNodeSyncServer(s, f.hub)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return func() *grpc.ClientConn {
		cc, err := grpc.NewClient("passthrough:///hub", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithStaticStreamWindowSize(1<<16), grpc.WithStaticConnWindowSize(1<<20), // of fixed size: what is not read stalls
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cc.Close() })
		return cc
	}
}

type client struct {
	stream grpc.BidiStreamingClient[weftv1.SyncRequest, weftv1.SyncResponse]
	at     chan int64
	now    int64
	err    error
}

func stream1(t testing.TB, dial func() *grpc.ClientConn, h *weftv1.Hello) *client {
	ctx := metadata.AppendToOutgoingContext(t.Context(), "certificate", h.GetNode())
	s, err := weftv1.NewNodeSyncClient(dial()).Sync(ctx)
	if err == nil {
		err = s.Send(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Hello{Hello: h}})
	}
	if err != nil {
		t.Error(err)
	}
	return &client{stream: s, at: make(chan int64, 1<<14)}
}

// until reads to the Complete of a revision, or of any if it is 0.
func (c *client) until(t *testing.T, rev int64) []string {
	a := &agent{f: &fabric{t: t}, held: map[ref]string{}, stage: map[ref]string{}}
	var out []string
	for {
		m, err := c.stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, a.take(m))
		if a.last != nil && a.last.GetRevision() >= rev {
			return out
		}
	}
}

// follow reads on, and says what is complete.
func (c *client) follow() {
	go func() {
		defer close(c.at)
		go func() {
			for beat := time.Tick(100 * time.Millisecond); ; <-beat {
				if c.stream.Send(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Heartbeat{}}) != nil {
					return
				}
			}
		}()
		for {
			m, err := c.stream.Recv()
			if err != nil {
				c.err = err
				return
			}
			if done := m.GetComplete(); done != nil {
				c.at <- done.GetRevision()
			}
		}
	}()
}

func (c *client) wait(t testing.TB, rev int64) {
	for c.now < rev {
		at, ok := <-c.at
		if !ok {
			fmt.Fprintln(os.Stderr, c.err)
			t.Fatal("the stream ended")
		}
		c.now = at
	}
}
