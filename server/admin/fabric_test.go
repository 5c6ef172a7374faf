package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/compile"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/lease"
	"github.com/weft-net/weft/server/push"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"sigs.k8s.io/yaml"
)

var now = time.Unix(1_800_000_000, 0)

// fabricOf is all services over a store in memory, called over gRPC.
type fabricOf struct {
	t      *testing.T
	store  *storetest.Memory
	leases *lease.Allocator
	hub    *hub
	tokens *tokenList
	asked  []Question // of other servers
	conn   *grpc.ClientConn

	weftv1.ResourcesClient
}

// revoked stands for identity's record of a node that was revoked.
const revoked = store.Identity + "node/"

// newFabric has a ClusterConfig and no nodes.
func newFabric(t *testing.T) *fabricOf {
	t.Helper()
	m := storetest.New()
	f := &fabricOf{t: t, store: m, leases: lease.New(lease.Config{Store: m, Now: func() time.Time { return now }})}
	f.hub = &hub{store: m, live: map[string]push.Status{}}
	f.tokens = &tokenList{}
	s := New(Config{
		Store: m, Hub: f.hub, Leases: f.leases, Tokens: f.tokens, Fabric: "prod",
		Revocation: func(_ context.Context, node string) (store.Txn, error) {
			f.hub.note("revoke " + node)
			return store.Txn{Then: []store.Write{{Key: revoked + node, Value: []byte("revoked")}}}, nil
		},
		Servers: func(context.Context) ([]*weftv1.ServerStatus, error) {
			return []*weftv1.ServerStatus{{Name: "s1"}}, nil
		},
		Etcd: func(context.Context) (*weftv1.EtcdStatus, error) {
			return &weftv1.EtcdStatus{Mode: "embedded", Members: 1, SizeBytes: 1 << 20, QuotaBytes: 2 << 30}, nil
		},
		CAEnds: func() time.Time { return now.Add(3650 * 24 * time.Hour) },
		Name:   "s1",
		AskAt:  f.askAt,
		Now:    func() time.Time { return now },
		Since:  now.Add(-time.Hour),
	})
	server := grpc.NewServer()
	s.Register(server)
	l := bufconn.Listen(1 << 20)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	f.conn, f.ResourcesClient = conn, weftv1.NewResourcesClient(conn)
	f.seed("10.42.0.0/16 fd42:42::/48")
	return f
}

// askAt is another server, of which s2 answers.
func (f *fabricOf) askAt(_ context.Context, server string, q Question) ([]byte, error) {
	f.asked = append(f.asked, q)
	if server != "s2" {
		return nil, status.Errorf(codes.Unavailable, "server %s does not answer", server)
	}
	return proto.Marshal(&weftv1.SetLogLevelResponse{Before: "info", Level: "debug"})
}

func (f *fabricOf) seed(ranges string) {
	f.t.Helper()
	var spec kind.ClusterConfigSpec
	for _, r := range strings.Fields(ranges) {
		spec.ClusterCIDRs = append(spec.ClusterCIDRs, netip.MustParsePrefix(r))
	}
	f.object(kind.ClusterConfig, kind.DefaultName, nil, spec.WithDefaults())
}

func (f *fabricOf) put(key string, value []byte) {
	f.t.Helper()
	if _, err := f.store.Commit(f.t.Context(), store.Txn{Then: []store.Write{{Key: key, Value: value}}}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fabricOf) object(k, name string, labels map[string]string, spec any) {
	f.t.Helper()
	b, err := kind.Encode(k, kind.Metadata{Name: name, Labels: labels, CreatedUnix: now.Unix() - 3600}, spec)
	if err != nil {
		f.t.Fatal(err)
	}
	f.put(kind.Key(k, "", name), b)
}

func (f *fabricOf) json(key string, value any) {
	f.t.Helper()
	b, err := json.Marshal(value)
	if err != nil {
		f.t.Fatal(err)
	}
	f.put(key, b)
}

// join makes nodes that are there and in step.
func (f *fabricOf) join(names ...string) {
	f.t.Helper()
	for i, name := range names {
		f.object(kind.Node, name, nil, kind.NodeSpec{})
		f.object(kind.Report, name, nil, kind.ReportSpec{
			Addresses: []kind.ReportAddress{{Address: netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/24", i+1)), Device: "eth0", MTU: 1500}},
			VTEP:      fmt.Sprintf("02:57:00:00:00:%02x", i+1), Labels: map[string]string{"weft/os": "linux"},
		})
		if _, err := f.leases.Acquire(f.t.Context(), name, nil); err != nil {
			f.t.Fatal(err)
		}
	}
	for _, name := range names {
		f.json(kind.ObservedNode(name), kind.NodeObservation{
			Version: "0.1.0", HeardUnix: now.Unix() - 1, AppliedRevision: 100, Revision: 100, Epoch: "e1",
		})
	}
}

func (f *fabricOf) pod(node, id, pod string, addrs ...string) {
	f.t.Helper()
	o := kind.EndpointObservation{Key: node + "/" + id + "/eth0", Namespace: "shop", Pod: pod, Device: "wf0", Labels: map[string]string{"app": pod}}
	for _, a := range addrs {
		o.Addresses = append(o.Addresses, netip.MustParseAddr(a))
	}
	f.json(kind.ObservedEndpoint(o.Key), o)
}

// items reads YAML as the tool does.
func items(t *testing.T, text string) []*weftv1.Resource {
	t.Helper()
	var out []*weftv1.Resource
	for doc := range strings.SplitSeq(text, "\n---\n") {
		raw, err := yaml.YAMLToJSON([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		r := &weftv1.Resource{}
		if err := protojson.Unmarshal(raw, r); err != nil {
			t.Fatalf("%s: %v", doc, err)
		}
		out = append(out, r)
	}
	return out
}

// said is an error as an operator sees it: the code, then field: problem lines.
func said(err error) string {
	if err == nil {
		return "OK"
	}
	s := status.Convert(err)
	out := []string{s.Code().String()}
	fields := 0
	for _, d := range s.Details() {
		if b, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range b.GetFieldViolations() {
				out = append(out, v.GetField()+": "+v.GetDescription())
				fields++
			}
		}
	}
	if fields == 0 {
		out = append(out, s.Message())
	}
	return strings.Join(out, " | ")
}

func line(results []*weftv1.Result) string {
	var out []string
	for _, r := range results {
		item := r.GetAfter()
		if item == nil {
			item = r.GetBefore()
		}
		out = append(out, fmt.Sprintf("%s/%s %s", item.GetKind(), item.GetMetadata().GetName(), r.GetVerb()))
	}
	return strings.Join(out, ", ")
}

func spec(t *testing.T, s *structpb.Struct) string {
	t.Helper()
	b, err := json.Marshal(s.AsMap())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// hub stands for push.Hub: it compiles what is stored when it is asked.
type hub struct {
	store *storetest.Memory

	mu     sync.Mutex
	live   map[string]push.Status
	said   []string
	behind []string
}

func (h *hub) note(s string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said = append(h.said, s)
}

func (h *hub) notes() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.said, ", ")
}

func (h *hub) Epoch() string   { return "e1" }
func (h *hub) Revision() int64 { return h.store.Revision() }
func (h *hub) Cut(node, _ string) bool {
	h.note("cut " + node)
	return true
}

func (h *hub) Status(node string) (push.Status, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.live[node]
	return s, ok
}

func (h *hub) compile() ([]intent.Object, []compile.Problem) {
	entries, _, err := h.store.List(context.Background(), store.Intent)
	if err != nil {
		return nil, nil
	}
	return compile.All(entries)
}

func (h *hub) Problems() []compile.Problem {
	_, problems := h.compile()
	return problems
}

func (h *hub) Intent(string) *weftv1.NodeIntent {
	out := &weftv1.NodeIntent{Epoch: "e1", Revision: h.Revision(), CompileVersion: 1}
	objects, _ := h.compile()
	for _, o := range objects {
		out.Objects = append(out.Objects, &weftv1.Set{Collection: o.Collection, Key: o.Key, Revision: o.Revision, Value: o.Value})
	}
	return out
}

func (h *hub) WaitApplied(ctx context.Context, revision int64) []string {
	h.mu.Lock()
	behind := slices.Clone(h.behind)
	h.mu.Unlock()
	if len(behind) > 0 || revision > h.Revision() {
		<-ctx.Done()
	}
	return behind
}

// tokenList stands for identity.
type tokenList struct {
	list []*weftv1.TokenStatus
}

func (l *tokenList) CreateToken(_ context.Context, r *weftv1.TokensCreateRequest) (*weftv1.TokensCreateResponse, error) {
	t := &weftv1.TokenStatus{Id: fmt.Sprint(len(l.list) + 1), Nodes: r.GetNodes(), Uses: r.GetUses()}
	l.list = append(l.list, t)
	return &weftv1.TokensCreateResponse{Token: "weft1.x.y.z", Status: t}, nil
}

func (l *tokenList) ListTokens(context.Context) ([]*weftv1.TokenStatus, error) { return l.list, nil }

func (l *tokenList) RevokeToken(_ context.Context, id string) error {
	for i, t := range l.list {
		if t.GetId() == id {
			l.list = slices.Delete(l.list, i, i+1)
			return nil
		}
	}
	return fmt.Errorf("identity: there is no token %q: %w", id, store.ErrNotFound)
}
