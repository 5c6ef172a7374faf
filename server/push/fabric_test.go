package push

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// fabric is a hub over a store in memory.
type fabric struct {
	t     testing.TB
	ctx   context.Context
	store *storetest.Memory
	hub   *Hub
	lease *leases
	stop  func()

	change func(*Config)
	runs   int                // servers that were started
	all    map[string]*fabric // of one store, by the server's name
}

func newFabric(t testing.TB, change func(*Config)) *fabric {
	t.Helper()
	f := &fabric{t: t, store: storetest.New(), change: change, ctx: t.Context(), all: map[string]*fabric{}}
	f.lease = &leases{store: f.store}
	f.put(kind.ClusterConfig, "default", kind.ClusterConfigSpec{ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	f.start()
	return f
}

// start opens a server over the store, as at its first start and after a stop.
func (f *fabric) start() {
	f.t.Helper()
	f.runs++
	ctx, cancel := context.WithCancel(f.t.Context())
	cache := store.NewCache(f.store, store.Intent)
	var running sync.WaitGroup
	running.Go(func() { _ = cache.Run(ctx) })
	seen := store.NewCache(f.store, kind.ObservedNodes)
	running.Go(func() { _ = seen.Run(ctx) })
	if err := cache.WaitRevision(ctx, 1); err != nil {
		f.t.Fatal(err)
	}
	cfg := Config{
		Run: fmt.Sprint("r", f.runs), Epoch: "e1", Mirror: cache, Seen: seen, Store: f.store, Leases: f.lease,
		Identify: func(ctx context.Context) (string, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			if names := md.Get("certificate"); len(names) == 1 {
				return names[0], nil
			}
			return "", errors.New("none was shown")
		},
	}
	if f.change != nil {
		f.change(&cfg)
	}
	f.all[cmp.Or(cfg.Server, "server")] = f
	cfg.AskAt = func(ctx context.Context, server, node, method string, request []byte) ([]byte, error) {
		answer, err := f.all[server].hub.Handed(ctx, node, method, request)
		if errors.Is(err, ErrNotHere) {
			err = status.Error(codes.Unavailable, "it just left")
		}
		return answer, err
	}
	f.hub = New(cfg)
	running.Go(func() { _ = f.hub.Run(ctx) })
	f.stop = func() { cancel(); running.Wait() }
	f.t.Cleanup(f.stop)
	moved := f.hub.moved.next()
	if f.hub.Revision() == 0 {
		<-moved
	}
}

// heal brings a store back that is down.
func (f *fabric) heal() {
	f.store.Inject(storetest.Fault{})
	f.lease.mu.Lock()
	f.lease.err = nil
	f.lease.mu.Unlock()
}

func (f *fabric) put(k, name string, spec any) int64 {
	f.t.Helper()
	b, err := kind.Encode(k, kind.Metadata{Name: name}, spec)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.write(kind.Key(k, "", name), b)
}

func (f *fabric) write(key string, b []byte) int64 {
	f.t.Helper()
	rev, err := f.store.Commit(f.ctx, store.Txn{Then: []store.Write{{Key: key, Value: b}}})
	if err != nil {
		f.t.Fatal(err)
	}
	return rev
}

// peer stores what makes a peer, without an agent.
func (f *fabric) peer(name string, i int) int64 {
	f.put(kind.Lease, name, kind.LeaseSpec{Node: name, Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)}})
	return f.put(kind.Report, name, kind.ReportSpec{Addresses: []kind.ReportAddress{{Address: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 16), MTU: 1500}}})
}

// leases hands out 10.200.n.0/24 in turn.
type leases struct {
	store *storetest.Memory
	mu    sync.Mutex
	n     byte
	err   error
	asks  int
}

func (l *leases) asked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asks
}

func (l *leases) Acquire(ctx context.Context, node string, _ []netip.Prefix) ([]netip.Prefix, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asks++
	if l.err != nil {
		return nil, l.err
	}
	if _, err := l.store.Get(ctx, kind.Key(kind.Lease, "", node)); err == nil {
		return nil, nil
	}
	l.n++
	p := []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 200, l.n, 0}), 24)}
	b, err := kind.Encode(kind.Lease, kind.Metadata{Name: node}, kind.LeaseSpec{Node: node, Prefixes: p})
	if err != nil {
		return nil, err
	}
	_, err = l.store.Commit(ctx, store.Txn{Then: []store.Write{{Key: kind.Key(kind.Lease, "", node), Value: b}}})
	return p, err
}

// agent is the other end of a stream, and the server's view of it.
type agent struct {
	f    *fabric
	ctx  context.Context
	up   chan *weftv1.SyncRequest
	down chan *weftv1.SyncResponse
	gone context.CancelFunc
	end  chan struct{} // closed when Sync has returned
	err  error         // of Sync, then

	held  map[ref]string // as of the last Complete
	stage map[ref]string
	last  *weftv1.Complete
}

// agents' ends of grpc.BidiStreamingServer.
func (a *agent) Context() context.Context     { return a.ctx }
func (a *agent) SetHeader(metadata.MD) error  { return nil }
func (a *agent) SendHeader(metadata.MD) error { return nil }
func (a *agent) SetTrailer(metadata.MD)       {}
func (a *agent) SendMsg(any) error            { panic("not used") }
func (a *agent) RecvMsg(any) error            { panic("not used") }
func (a *agent) Send(m *weftv1.SyncResponse) error {
	b, err := proto.Marshal(m) // the wire
	if err != nil {
		return err
	}
	var got weftv1.SyncResponse
	if err := proto.Unmarshal(b, &got); err != nil {
		return err
	}
	select {
	case a.down <- &got:
		return nil
	case <-a.ctx.Done():
		return a.ctx.Err()
	}
}

func (a *agent) Recv() (*weftv1.SyncRequest, error) {
	select {
	case m, ok := <-a.up:
		if !ok {
			return nil, io.EOF
		}
		return m, nil
	case <-a.ctx.Done():
		return nil, a.ctx.Err()
	}
}

// dial opens a stream with a certificate.
func (f *fabric) dial(certificate string) *agent { return f.dialFrom(nil, certificate) }

func (f *fabric) dialFrom(from net.Addr, certificate string) *agent {
	ctx, gone := context.WithCancel(metadata.NewIncomingContext(f.t.Context(), metadata.Pairs("certificate", certificate)))
	if from != nil {
		ctx = peer.NewContext(ctx, &peer.Peer{Addr: from})
	}
	a := &agent{
		f: f, ctx: ctx, gone: gone, up: make(chan *weftv1.SyncRequest), down: make(chan *weftv1.SyncResponse),
		end: make(chan struct{}), held: map[ref]string{}, stage: map[ref]string{},
	}
	go func() {
		defer close(a.end)
		a.err = f.hub.Sync(a)
		gone() // as gRPC does when a handler returns
	}()
	return a
}

var everything = []*weftv1.CollectionVersion{{Collection: intent.CollectionCluster, Schema: 1}, {Collection: intent.CollectionPeers, Schema: 1}}

func hello(node string, i int) *weftv1.Hello {
	return &weftv1.Hello{
		Node: node, Machine: "m-" + node, Boot: "b1", Version: "0.1.0", Collections: everything,
		Report: report(fmt.Sprintf("192.0.2.%d/24", i)),
	}
}

func report(addr string) *weftv1.NodeReport {
	return &weftv1.NodeReport{Addresses: []*weftv1.NodeAddress{{Address: addr, Device: "eth0", Mtu: 1500}}, VtepMac: "02:57:00:00:00:01"}
}

// join opens a stream and says hello.
func (f *fabric) join(h *weftv1.Hello) *agent {
	a := f.dial(h.GetNode())
	a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Hello{Hello: h}})
	return a
}

// joinFrom is join from an address and port.
func (f *fabric) joinFrom(from string, h *weftv1.Hello) *agent {
	a := f.dialFrom(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from)), h.GetNode())
	a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Hello{Hello: h}})
	return a
}

func (a *agent) say(m *weftv1.SyncRequest) {
	select {
	case a.up <- m:
	case <-a.end:
	}
}

func (a *agent) ack(rev int64) {
	a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Ack{Ack: &weftv1.Ack{Epoch: "e1", Revision: rev}}})
}

func (a *agent) report(r *weftv1.NodeReport) {
	a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Report{Report: r}})
}

func (a *agent) endpoints(full bool, remove []string, keys ...string) {
	d := &weftv1.EndpointDelta{Full: full, Remove: remove}
	for _, k := range keys {
		d.Upsert = append(d.Upsert, &weftv1.EndpointRecord{Key: k, Addresses: []string{"10.200.1.2"}})
	}
	a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Endpoints{Endpoints: d}})
}

// live has the agent take what comes, answer questions and beat, until its stream
// ends.
func (a *agent) live() {
	go func() {
		beat := time.NewTicker(3 * time.Second)
		defer beat.Stop()
		for {
			select {
			case m := <-a.down:
				if q := m.GetQuestion(); q != nil {
					a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Answer{Answer: &weftv1.Answer{Id: q.GetId(), Code: uint32(codes.Unimplemented)}}})
				} else {
					a.take(m)
				}
			case <-beat.C:
				a.say(beatUp())
			case <-a.end:
				return
			}
		}
	}()
}

// hear reads everything that comes until nothing moves any more, and prints it;
// time does not pass.
func (a *agent) hear() string {
	var out []string
	for {
		synctest.Wait()
		select {
		case m := <-a.down:
			out = append(out, a.take(m))
		default:
			return strings.Join(out, "\n")
		}
	}
}

// take is what an agent does with a message.
func (a *agent) take(m *weftv1.SyncResponse) string {
	if len(m.ProtoReflect().GetUnknown()) > 0 {
		a.f.t.Errorf("not understood: %v", m)
	}
	switch m := m.GetMessage().(type) {
	case *weftv1.SyncResponse_Set:
		a.stage[ref{m.Set.GetCollection(), m.Set.GetKey()}] = string(m.Set.GetValue())
		return "set " + m.Set.GetKey()
	case *weftv1.SyncResponse_Delete:
		delete(a.stage, ref{m.Delete.GetCollection(), m.Delete.GetKey()})
		return "delete " + m.Delete.GetKey()
	case *weftv1.SyncResponse_ReplaceAll:
		if m.ReplaceAll.GetPhase() == weftv1.ReplaceAll_PHASE_BEGIN {
			clear(a.stage)
			return "begin"
		}
		return "end"
	case *weftv1.SyncResponse_Welcome:
		return "welcome"
	case *weftv1.SyncResponse_Echo:
		return "echo " + string(m.Echo.GetCookie())
	case *weftv1.SyncResponse_Complete:
		clear(a.held)
		for k, v := range a.stage {
			a.held[k] = v
		}
		a.last = m.Complete
		return "complete"
	case *weftv1.SyncResponse_Heartbeat:
		return "heartbeat"
	case *weftv1.SyncResponse_Batch:
		var parts []string
		for _, m := range m.Batch.GetMessages() {
			parts = append(parts, a.take(m))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case *weftv1.SyncResponse_Backoff:
		return fmt.Sprintf("backoff %d s: %s", m.Backoff.GetSeconds(), m.Backoff.GetReason())
	}
	return fmt.Sprint(m)
}

// again is the hello of an agent that holds what a holds.
func (a *agent) again(h *weftv1.Hello) *weftv1.Hello {
	h.Epoch, h.Revision, h.CompileVersion = a.last.GetEpoch(), a.last.GetRevision(), a.last.GetCompileVersion()
	return h
}

// ended is the error that the agent sees, "" while the stream stands.
func (a *agent) ended() string {
	synctest.Wait()
	select {
	case <-a.end:
		s := status.Convert(a.err)
		return s.Code().String() + ": " + s.Message()
	default:
		return ""
	}
}

func lines(l ...string) string { return strings.Join(l, "\n") }

func problems(s Status) []string {
	var out []string
	for _, p := range s.Problems {
		out = append(out, p.Subject+": "+p.Cause)
	}
	slices.Sort(out)
	return out
}

func beatUp() *weftv1.SyncRequest {
	return &weftv1.SyncRequest{Message: &weftv1.SyncRequest_Heartbeat{Heartbeat: &weftv1.Heartbeat{}}}
}
