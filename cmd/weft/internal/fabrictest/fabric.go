package fabrictest

import (
	"crypto/tls"
	"net"
	"path/filepath"
	"sync"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc"
)

// Now is the time at which everything happens, in seconds since 1970.
const Now = 1_800_000_000

// Fabric is a server with an agent beside it. Fields may be set before the first
// request, and under Lock later.
type Fabric struct {
	sync.Mutex
	Problems []*weftv1.Problem
	Looking  []string
	Nodes    []*weftv1.NodeStatus
	Behind   []string           // what WaitForRevision answers
	Refuse   map[string]error   // by full method
	Plans    []*weftv1.NodePlan // what Plan answers
	Peers    []*weftv1.PeerStatus
	Ends     bool // watches end once what exists is told
	Meshed   bool // pairs choose their way
	Late     bool // answers say that the audit has no record yet

	Tunnels []*weftv1.Tunnel   // nil: of a release that has none
	Silent  []string           // servers whose tunnels are not known
	Refused map[string]Refusal // by HOST:PORT, of the front end
	Dialled []string           // "node HOST:PORT", as the front end was asked

	Address string // of the server
	Admin   string // path of the operator's credentials
	Socket  string // path of the agent's socket

	revision int64
	objects  map[key]*weftv1.Resource
	tokens   []*weftv1.TokenStatus
	changed  chan struct{} // closed and made anew at every change
	history  []*weftv1.WatchResponse
	config   *tls.Config
	server   *grpc.Server
	agent    *grpc.Server
}

type key struct{ kind, namespace, name string }

// Start serves a fabric of two nodes; dir gets the credentials and the socket.
func Start(dir string) (*Fabric, error) {
	f := &Fabric{
		Admin: filepath.Join(dir, "admin.yaml"), Socket: filepath.Join(dir, "agent.sock"),
		revision: 100, objects: map[key]*weftv1.Resource{}, changed: make(chan struct{}), Refuse: map[string]error{}, Refused: map[string]Refusal{},
	}
	f.seed()
	config, creds, err := identities()
	if err != nil {
		return nil, err
	}
	f.Address, f.config = "127.0.0.1:0", config
	if err := f.StartServer(); err != nil {
		return nil, err
	}
	creds.Server = "https://" + f.Address
	return f, creds.Save(f.Admin)
}

// StartServer serves at the address that it was served at before.
func (f *Fabric) StartServer() error {
	public, err := net.Listen("tcp", f.Address)
	if err != nil {
		return err
	}
	f.Address = public.Addr().String()
	f.config.NextProtos = []string{"h2", "http/1.1"}
	f.server = grpc.NewServer(grpc.UnaryInterceptor(f.intercept)) // whose connections have done their handshake
	weftv1.RegisterResourcesServer(f.server, resources{f: f})
	weftv1.RegisterStatusServer(f.server, statusServer{f: f})
	weftv1.RegisterNodesServer(f.server, nodes{f: f})
	weftv1.RegisterLeasesServer(f.server, leases{f: f})
	weftv1.RegisterMeshServer(f.server, mesh{f: f})
	weftv1.RegisterTokensServer(f.server, tokens{f: f})
	weftv1.RegisterEgressServer(f.server, egress{f: f})
	server := f.server
	go func() { _ = server.Serve(newPort(public, f)) }() // ends with Close
	return nil
}

// StartAgent serves the agent of n1 on its socket.
func (f *Fabric) StartAgent() error {
	local, err := net.Listen("unix", f.Socket)
	if err != nil {
		return err
	}
	f.agent = grpc.NewServer()
	weftv1.RegisterAgentServer(f.agent, agent{f: f})
	go func() { _ = f.agent.Serve(local) }() // ends with Close
	return nil
}

// StopServer takes the server away; the agent stays.
func (f *Fabric) StopServer() { f.server.Stop() }

// Close ends everything.
func (f *Fabric) Close() {
	f.server.Stop()
	if f.agent != nil {
		f.agent.Stop()
	}
}
