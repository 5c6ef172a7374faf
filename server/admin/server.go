package admin

import (
	"context"
	"log/slog"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/compile"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/push"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc"
)

// Hub is what the streams of this server's agents know: push.Hub.
type Hub interface {
	Epoch() string
	Revision() int64
	Status(node string) (push.Status, bool)
	Intent(node string) *weftv1.NodeIntent
	WaitApplied(ctx context.Context, revision int64) (behind []string)
	Cut(node, why string) bool
	Problems() []compile.Problem
}

// Leases decides about prefixes: lease.Allocator.
type Leases interface {
	// Guard answers what must go into a transaction that writes objects and
	// deletes the leases of nodes.
	Guard(ctx context.Context, set []kind.Object, gone []string) (store.Txn, error)
	Release(ctx context.Context, node string) error
}

// Tokens makes and ends join tokens.
type Tokens interface {
	CreateToken(ctx context.Context, r *weftv1.TokensCreateRequest) (*weftv1.TokensCreateResponse, error)
	ListTokens(ctx context.Context) ([]*weftv1.TokenStatus, error)
	RevokeToken(ctx context.Context, id string) error
}

// Config is what the services work with.
type Config struct {
	Store  store.Store
	Hub    Hub
	Leases Leases
	Tokens Tokens
	// Journal tells what happened; it is told what operators do.
	Journal Journal
	// Ask asks a node's agent, over its stream: push.Hub.Ask.
	Ask func(ctx context.Context, node, method string, request []byte) ([]byte, error)
	// AskAt has another server ask, which hands nothing on: members.Room.AskAt. nil:
	// there are no others.
	AskAt func(ctx context.Context, server string, q Question) ([]byte, error)
	// Name of this server, what it runs with (a line a setting, without secrets) and
	// what it logs; Tail may be nil.
	Name     string
	Settings []string
	Tail     Log
	// Actor is who calls, such as "admin ops"; nil: nobody is named.
	Actor func(ctx context.Context) string
	// Revocation is the part of a transaction that ends a node's identity: its
	// certificates are refused from then on. It is empty if they are already.
	Revocation func(ctx context.Context, node string) (store.Txn, error)
	// Expiry is as Revocation, of an ephemeral node that stayed away: it may join again.
	Expiry func(ctx context.Context, node string) (store.Txn, error)
	// Renaming are the parts of the transaction that renames a node, of those who
	// keep something by its name.
	Renaming []func(ctx context.Context, from, to string) (store.Txn, error)
	// Ephemeral lists the nodes that are deleted when they go.
	Ephemeral func() []string
	// Identities tells what is wrong with who is who, and FirstToEnd which certificate
	// ends first of those that a person renews.
	Identities func() []*weftv1.Problem
	// Awaited says that a node was renamed, and its agent has not come under this name
	// yet; nil: none was.
	Awaited    func(node string) bool
	Since      time.Time // when this server began to listen; zero: now
	FirstToEnd func() *weftv1.CertificateEnd
	// Servers and Etcd answer for Status.
	Servers func(ctx context.Context) ([]*weftv1.ServerStatus, error)
	// ServerProblems is what is wrong with servers and their store; nil: nothing.
	ServerProblems func() []*weftv1.Problem
	Etcd           func(ctx context.Context) (*weftv1.EtcdStatus, error)
	CAEnds         func() time.Time
	// Silence is since when the store answers nobody, zero while it does, and what is
	// closed when that changes; nil: it always does. Remembered is what this server
	// knows of nodes then, without observations of the others'.
	Silence    func() (since time.Time, changed <-chan struct{})
	Remembered func() []store.Entry
	// Backups answers for Status, and Ordinal counts epochs.
	Backups func(ctx context.Context) (*weftv1.BackupStatus, error)
	Ordinal uint64
	Fabric  string // its name

	Now func() time.Time
	Log *slog.Logger
}

// Server is all services over one state.
type Server struct {
	Config
}

// New returns a Server.
func New(c Config) *Server {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Since.IsZero() {
		c.Since = c.Now()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Journal == nil {
		c.Journal = journal.New(journal.Config{Store: c.Store, Log: c.Log})
	}
	if c.Ask == nil {
		c.Ask = func(context.Context, string, string, []byte) ([]byte, error) { return nil, push.ErrNotHere }
	}
	if c.Silence == nil {
		c.Silence = func() (time.Time, <-chan struct{}) { return time.Time{}, nil }
	}
	if c.Remembered == nil {
		c.Remembered = func() []store.Entry { return nil }
	}
	if c.Actor == nil {
		c.Actor = func(context.Context) string { return "" }
	}
	return &Server{c}
}

// Register hangs the services into a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	weftv1.RegisterResourcesServer(r, &resources{Server: s})
	weftv1.RegisterStatusServer(r, &fabric{Server: s, watches: make(chan struct{}, maxStatusWatches)})
	weftv1.RegisterNodesServer(r, &nodes{Server: s})
	weftv1.RegisterLeasesServer(r, &leases{Server: s})
	weftv1.RegisterMeshServer(r, &mesh{Server: s})
	weftv1.RegisterTokensServer(r, &tokens{Server: s})
	weftv1.RegisterEventsServer(r, &events{Server: s})
	weftv1.RegisterAuditServer(r, &audit{Server: s})
	weftv1.RegisterDiagnoseServer(r, &diagnose{Server: s})
}

type (
	resources struct {
		weftv1.UnimplementedResourcesServer
		*Server
	}
	fabric struct {
		weftv1.UnimplementedStatusServer
		*Server
		watches chan struct{}
	}
	nodes struct {
		weftv1.UnimplementedNodesServer
		*Server
	}
	leases struct {
		weftv1.UnimplementedLeasesServer
		*Server
	}
	mesh struct {
		weftv1.UnimplementedMeshServer
		*Server
	}
	tokens struct {
		weftv1.UnimplementedTokensServer
		*Server
	}
	events struct {
		weftv1.UnimplementedEventsServer
		*Server
	}
	diagnose struct {
		weftv1.UnimplementedDiagnoseServer
		*Server
	}
	audit struct {
		weftv1.UnimplementedAuditServer
		*Server
	}
)
