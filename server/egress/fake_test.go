package egress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	rules "github.com/weft-net/weft/proto/egress"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	"github.com/weft-net/weft/tunnel"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pretended is a tunnel in memory: agent is what the other end does with a dial.
type pretended struct {
	agent   func(ctx context.Context, r rules.Request) (Conn, error)
	deaf    bool // it does not answer
	mu      sync.Mutex
	end     error
	drained bool
	done    chan struct{}
	figures Figures
}

func newPretended(agent func(context.Context, rules.Request) (Conn, error)) *pretended {
	return &pretended{agent: agent, done: make(chan struct{})}
}

func (p *pretended) Open(ctx context.Context, target []byte) (Conn, error) {
	r, err := rules.Decode(target)
	if err != nil {
		return nil, &Refusal{Code: Malformed, Reason: err.Error()}
	}
	p.mu.Lock()
	gone := p.end != nil || p.drained
	p.mu.Unlock()
	if gone {
		return nil, errGone
	}
	if p.deaf {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return p.agent(ctx, r)
}

func (p *pretended) Serve() error {
	<-p.done
	return p.end
}

func (p *pretended) Answers(ctx context.Context) bool {
	if p.deaf {
		<-ctx.Done()
	}
	return !p.deaf
}

func (p *pretended) Drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drained = true
}

func (p *pretended) End(reason error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.end == nil {
		p.end = reason
		close(p.done)
	}
}

func (p *pretended) Done() <-chan struct{} { return p.done }
func (p *pretended) Figures() Figures      { return p.figures }

// echo is an agent whose targets say what they were asked for, then echo.
func echo(node string) func(context.Context, rules.Request) (Conn, error) {
	return func(_ context.Context, r rules.Request) (Conn, error) {
		near, far := pair()
		go func() {
			defer far.Close()
			fmt.Fprintf(far, "%s dials %s:%d for %v\n", node, r.Host, r.Port, r.By)
			_, _ = io.Copy(far, far)
			_ = far.CloseWrite()
		}()
		return near, nil
	}
}

// refusing is an agent that refuses everything.
func refusing(code Code, reason string) func(context.Context, rules.Request) (Conn, error) {
	return func(context.Context, rules.Request) (Conn, error) { return nil, &Refusal{Code: code, Reason: reason} }
}

// pair is two ends of a connection on loopback.
func pair() (near, far Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	came := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		came <- c
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		panic(err)
	}
	return c.(Conn), (<-came).(Conn)
}

// server is a Gate that runs, with agents in memory.
type server struct {
	*Gate
	t       *testing.T
	store   *storetest.Memory
	links   map[string]*pretended // by node: what the next tunnel of a node is
	cuts    map[string]context.CancelCauseFunc
	mu      sync.Mutex
	denials []string
	stop    func() // and wait
}

// fabric is servers that know of each other.
type fabric struct {
	mu      sync.Mutex
	servers map[string]*server
	doors   map[string]*httptest.Server
}

// started is a server of a fabric, which knows what cluster knows.
func (f *fabric) started(t *testing.T, name, mode, fallback string) *server {
	s := &server{t: t, store: storetest.New(), links: map[string]*pretended{}, cuts: map[string]context.CancelCauseFunc{}}
	s.write(kind.ClusterConfig, kind.DefaultName, kind.ClusterConfigSpec{
		ClusterCIDRs: prefixes("10.42.0.0/16 fd42:42::/48"), ServiceCIDRs: prefixes("10.43.0.0/16"), EgressSelectorMode: mode, EgressFallback: fallback,
	})
	for i, addr := range []string{"192.0.2.11/24", "192.168.1.5/24", "192.168.1.5/24"} {
		node := fmt.Sprint("n", i+1)
		s.write(kind.Node, node, kind.NodeSpec{})
		s.write(kind.Lease, node, kind.LeaseSpec{Node: node, Prefixes: prefixes(fmt.Sprintf("10.42.%d.0/24", i+1))})
		s.write(kind.Report, node, kind.ReportSpec{Addresses: []kind.ReportAddress{{Address: netip.MustParsePrefix(addr), Device: "eth0"}}})
	}
	mirror := store.NewCache(s.store, store.Intent)
	s.Gate = New(Config{
		Server: name, Mirror: mirror, Store: s.store, Others: others{f, name},
		Hold: s.hold,
		Upgrade: func(w http.ResponseWriter, r *http.Request) (Link, error) {
			if l := s.links[r.Header.Get("Node")]; l != nil {
				w.WriteHeader(http.StatusSwitchingProtocols)
				return l, nil
			}
			c, err := tunnel.Upgrade(w, r, tunnel.Config{})
			if err != nil {
				return nil, err
			}
			return Over(c), nil
		},
		Dial: func(_ context.Context, at netip.AddrPort) (Conn, error) {
			return echo(name)(context.Background(), rules.Request{Host: at.Addr().String(), Port: at.Port()})
		},
		Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
			if host == "web.example.org" {
				return []netip.Addr{netip.MustParseAddr("10.42.1.7"), netip.MustParseAddr("203.0.113.9")}, nil
			}
			return nil, errors.New("no such host")
		},
		Denied: func(by Asker, to Request, node string, r *Refusal) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.denials = append(s.denials, fmt.Sprintf("%v: %v by %s: %s", by, to, node, r.Rule))
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = mirror.Run(ctx) })
	if err := mirror.WaitRevision(ctx, 1); err != nil {
		t.Fatal(err)
	}
	running.Go(func() { _ = s.Run(ctx) })
	s.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(s.stop)
	s.until(func() bool { _, known := s.atlas.of("n3"); return known })
	f.enter(name, s)
	return s
}

func (f *fabric) enter(name string, s *server) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.servers == nil {
		f.servers, f.doors = map[string]*server{}, map[string]*httptest.Server{}
	}
	f.servers[name] = s
	f.doors[name] = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.ServeHop(w, r, context.Background()) }))
	s.t.Cleanup(f.doors[name].Close)
}

// kill is what a machine's end does: its connections break and nobody answers.
func (f *fabric) kill(name string) {
	f.mu.Lock()
	s, door := f.servers[name], f.doors[name]
	delete(f.servers, name)
	f.mu.Unlock()
	s.stop()
	door.CloseClientConnections()
	door.Close()
}

func one(t *testing.T, mode, fallback string) *server {
	return (&fabric{}).started(t, "s1", mode, fallback)
}

func (s *server) write(of, name string, spec any) {
	s.t.Helper()
	b, err := kind.Encode(of, kind.Metadata{Name: name}, spec)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.store.Commit(s.t.Context(), store.Txn{Then: []store.Write{{Key: kind.Key(of, "", name), Value: b}}}); err != nil {
		s.t.Fatal(err)
	}
}

// hold lets in the node that a header names: "evil" shows a certificate that counts
// no more.
func (s *server) hold(ctx context.Context, r *http.Request) (string, context.Context, func(), error) {
	node := r.Header.Get("Node")
	if node == "evil" {
		return "", nil, nil, status.Error(codes.PermissionDenied, "node evil: it was revoked")
	}
	held, cut := context.WithCancelCause(ctx)
	s.cuts[node] = cut
	return node, held, func() { cut(nil) }, nil
}

// come lets an agent come, and answers with the status.
func (s *server) come(node, instance string, l *pretended) *httptest.ResponseRecorder {
	s.links[node] = l
	r := httptest.NewRequest(http.MethodGet, "/v1/tunnel", nil)
	r.Header.Set("Node", node)
	r.Header.Set(HeaderInstance, instance)
	r.Header.Set(HeaderProtocol, "1")
	w := httptest.NewRecorder()
	s.ServeTunnel(w, r)
	return w
}

// has gives a node a tunnel.
func (s *server) has(node string, agent func(context.Context, rules.Request) (Conn, error)) *pretended {
	s.t.Helper()
	l := newPretended(agent)
	if w := s.come(node, "i-"+node, l); w.Code != http.StatusSwitchingProtocols {
		s.t.Fatalf("tunnel of %s: %d %s", node, w.Code, w.Body)
	}
	return l
}

// until waits for something that another goroutine does.
func (s *server) until(is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatal("it does not become so")
		}
	}
}

var ann = Asker{User: "ann", Role: "admin", Front: "connect"}

// said dials and answers with what the target says first, or the refusal's code and
// text.
func (s *server) said(by Asker, node, target string) string {
	s.t.Helper()
	to, err := ParseTarget(target)
	if err != nil {
		return err.Error()
	}
	to.Node = node
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	c, err := s.Dial(ctx, by, to)
	if err != nil {
		return string(Refused(err).Code) + ": " + err.Error()
	}
	defer c.Close()
	if err := c.CloseWrite(); err != nil {
		s.t.Error(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		s.t.Error(err)
	}
	return strings.TrimSpace(string(b))
}

// others are the servers of a fabric but one.
type others struct {
	fabric *fabric
	own    string
}

func (o others) Names() (out []string) {
	o.fabric.mu.Lock()
	defer o.fabric.mu.Unlock()
	for name := range o.fabric.doors { // those that died too: it takes a while until that is known
		if name != o.own {
			out = append(out, name)
		}
	}
	return out
}

func (o others) Held(_ context.Context, server, node string) ([]*weftv1.Tunnel, error) {
	o.fabric.mu.Lock()
	s := o.fabric.servers[server]
	o.fabric.mu.Unlock()
	if s == nil {
		return nil, errors.New("does not answer")
	}
	return s.here(node), nil
}

func (o others) Dial(_ context.Context, server string) (Conn, error) {
	o.fabric.mu.Lock()
	at := strings.TrimPrefix(o.fabric.doors[server].URL, "http://")
	o.fabric.mu.Unlock()
	c, err := net.Dial("tcp", at)
	if err != nil {
		return nil, err
	}
	return c.(Conn), nil
}

// knows tells whether the only policy is a spec.
func (a *atlas) knows(t *testing.T, spec string) bool {
	var want kind.EgressPolicySpec
	if err := json.Unmarshal([]byte(spec), &want); err != nil {
		t.Fatal(err)
	}
	p, err := want.Policy("p")
	if err != nil {
		t.Fatal(err)
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	return len(a.policies) == 1 && reflect.DeepEqual(a.policies[0], p)
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func txnOf(e store.Event) store.Txn {
	return store.Txn{Then: []store.Write{{Key: e.Key, Value: e.Value}}}
}
