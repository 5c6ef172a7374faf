package integration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weft-net/weft/proto/join"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/admin"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/lease"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"pgregory.net/rapid"
)

var errCrash = errors.New("the server was killed")

// renamed is a node of the model: a key, the names that it had, and what it has.
type renamed struct {
	key   *ecdsa.PrivateKey
	names []string // the last is its name now
	lease string
}

func (n *renamed) name() string { return n.names[len(n.names)-1] }

// renaming is a server that is started anew for each rename, over one store.
type renaming struct {
	t     *rapid.T
	store *storetest.Memory
	data  string
	nodes []*renamed
}

// quiet is the part of a hub that renaming needs.
type quiet struct{ admin.Hub }

func (quiet) Cut(string, string) bool { return true }
func (quiet) Revision() int64         { return 1 }

// run starts a server, which knows no more than the store and its folder, for do.
func (r *renaming) run(do func(ctx context.Context, auth *identity.Authority, leases *lease.Allocator, nodes weftv1.NodesClient)) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	defer func() { cancel(); <-ended }()
	auth, err := identity.Open(ctx, r.store, identity.Config{DataDir: r.data, Server: "https://localhost:7443"})
	if err != nil {
		r.t.Fatal(err)
	}
	go func() { defer close(ended); _ = auth.Run(ctx) }()
	if err := auth.WaitReady(ctx); err != nil {
		r.t.Fatal(err)
	}
	leases := lease.New(lease.Config{Store: r.store})
	s, l := grpc.NewServer(), bufconn.Listen(1<<16)
	defer s.Stop()
	admin.New(admin.Config{
		Store: r.store, Hub: quiet{}, Leases: leases, Revocation: auth.Revocation,
		Renaming: []func(context.Context, string, string) (store.Txn, error){auth.Renaming, leases.Renaming},
	}).Register(s)
	go func() { _ = s.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:server", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	do(ctx, auth, leases, weftv1.NewNodesClient(conn))
}

// join makes a node with all that it can have.
func (r *renaming) join(ctx context.Context, auth *identity.Authority, leases *lease.Allocator, name string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	token, err := join.LoadToken(filepath.Join(r.data, "agent-token"))
	if err != nil {
		r.t.Fatal(err)
	}
	n := &renamed{key: key, names: []string{name}}
	if _, err := auth.Join(ctx, &weftv1.JoinRequest{Token: token.Reveal(), Node: name, CertificateRequest: r.request(n, name)}); err != nil {
		r.t.Fatal(err)
	}
	for k, spec := range map[string]any{kind.Report: kind.ReportSpec{}, kind.Pause: kind.PauseSpec{ID: name, Seconds: 60}} {
		value, err := kind.Encode(k, kind.Metadata{Name: name}, spec)
		if err == nil {
			_, err = r.store.Commit(ctx, store.Txn{Then: []store.Write{{Key: kind.Key(k, "", name), Value: value}}})
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	if _, err := leases.Acquire(ctx, name, nil); err != nil {
		r.t.Fatal(err)
	}
	r.nodes = append(r.nodes, n)
	n.lease = r.objects(kind.Lease)[name]
}

func (r *renaming) request(n *renamed, name string) []byte {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, n.key)
	if err != nil {
		r.t.Fatal(err)
	}
	return der
}

// objects are the specs of all objects of a kind, by name; of a lease its prefixes.
func (r *renaming) objects(k string) map[string]string {
	entries, _, err := r.store.List(context.Background(), kind.Key(k, "", ""))
	if err != nil {
		r.t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		var spec json.RawMessage
		o, err := kind.Decode(e.Value, &spec)
		if err != nil {
			r.t.Fatal(err)
		}
		text := string(spec)
		if k == kind.Lease {
			var l kind.LeaseSpec
			if err := json.Unmarshal(spec, &l); err != nil || l.Node != o.Metadata.Name {
				r.t.Fatalf("lease %s is of node %s: %v", o.Metadata.Name, l.Node, err)
			}
			text = fmt.Sprint(l.Prefixes)
		}
		out[o.Metadata.Name] = text
	}
	return out
}

// rename asks for one, of a server that is killed before or after it has written.
func (r *renaming) rename(from, to string, crash string) (err error) {
	r.run(func(ctx context.Context, _ *identity.Authority, _ *lease.Allocator, nodes weftv1.NodesClient) {
		switch crash {
		case "before":
			r.store.Inject(storetest.Fault{Before: func(store.Txn) error { return errCrash }})
		case "after":
			r.store.Inject(storetest.Fault{After: func(store.Txn) error { return errCrash }})
		}
		_, err = nodes.Rename(ctx, &weftv1.NodesRenameRequest{Node: from, Name: to})
		r.store.Inject(storetest.Fault{})
	})
	return err
}

func (r *renaming) named(name string) *renamed {
	if i := slices.IndexFunc(r.nodes, func(n *renamed) bool { return n.name() == name }); i >= 0 {
		return r.nodes[i]
	}
	return nil
}

// check compares the store with the model: every node has everything under its name
// and nothing is left under another; its key is told its name, whichever it comes by.
func (r *renaming) check(ctx context.Context, auth *identity.Authority) {
	want := map[string]string{}
	for _, n := range r.nodes {
		want[n.name()] = n.lease
	}
	names := slices.Sorted(maps.Keys(want))
	if got := r.objects(kind.Lease); !maps.Equal(got, want) {
		r.t.Fatalf("leases are %v, want %v", got, want)
	}
	for _, k := range []string{kind.Node, kind.Report, kind.Pause} {
		if got := slices.Sorted(maps.Keys(r.objects(k))); !slices.Equal(got, names) {
			r.t.Fatalf("%ss are %v, want %v", k, got, names)
		}
	}
	for _, n := range r.nodes {
		for _, former := range n.names {
			_, err := auth.Renew(ctx, &weftv1.RenewRequest{Node: former, CertificateRequest: r.request(n, former)})
			switch other := r.named(former); {
			case former == n.name():
				if err != nil {
					r.t.Fatalf("%s (%v) is not itself: %v", former, n.names, err)
				}
			case other != nil: // somebody else has the name now
				if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "another key") {
					r.t.Fatalf("%s comes as %s, which another has: %v", n.name(), former, err)
				}
			case !strings.Contains(fmt.Sprint(err), "start weft-agent with --node-name "+n.name()) && !r.reused(n, former):
				r.t.Fatalf("%v comes as %s, and is told: %v", n.names, former, err)
			}
		}
	}
}

// reused says whether another node had a name after this one.
func (r *renaming) reused(n *renamed, name string) bool {
	return slices.ContainsFunc(r.nodes, func(o *renamed) bool { return o != n && slices.Contains(o.names, name) })
}

// A rename is whole or not at all, whenever the server is killed, and may be asked
// for again; chains of renames lead to the name of today.
func TestRenames(t *testing.T) {
	root := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		data, err := os.MkdirTemp(root, "")
		if err != nil {
			rt.Fatal(err)
		}
		r := &renaming{t: rt, store: storetest.New(), data: data}
		cluster, err := kind.Encode(kind.ClusterConfig, kind.Metadata{Name: kind.DefaultName},
			kind.ClusterConfigSpec{ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}}.WithDefaults())
		if err == nil {
			_, err = r.store.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: kind.Key(kind.ClusterConfig, "", kind.DefaultName), Value: cluster}}})
		}
		if err != nil {
			rt.Fatal(err)
		}
		r.run(func(ctx context.Context, auth *identity.Authority, leases *lease.Allocator, _ weftv1.NodesClient) {
			r.join(ctx, auth, leases, "n1")
			r.join(ctx, auth, leases, "n2")
		})
		names := rapid.SampledFrom([]string{"n1", "n2", "web1", "web2"})
		for range rapid.IntRange(1, 4).Draw(rt, "renames") {
			from, to := names.Draw(rt, "from"), names.Draw(rt, "to")
			crash := rapid.SampledFrom([]string{"", "before", "after"}).Draw(rt, "crash")
			n, err := r.named(from), r.rename(from, to, crash)
			may := n != nil && r.named(to) == nil
			if may && crash != "before" {
				n.names = append(n.names, to)
			}
			if (err == nil) != (may && crash == "") {
				rt.Fatalf("%s to %s, crash %q: %v", from, to, crash, err)
			}
			r.run(func(ctx context.Context, auth *identity.Authority, _ *lease.Allocator, nodes weftv1.NodesClient) {
				r.check(ctx, auth)
				if !may || crash == "" {
					return
				}
				// The operator asks again.
				_, err := nodes.Rename(ctx, &weftv1.NodesRenameRequest{Node: from, Name: to})
				switch {
				case crash == "before" && err == nil:
					n.names = append(n.names, to)
				case crash == "after" && strings.Contains(fmt.Sprint(err), "was renamed to "+to+" already"):
				default:
					rt.Fatalf("%s to %s again, after a crash %s: %v", from, to, crash, err)
				}
				r.check(ctx, auth)
			})
		}
	})
}
