package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/uplink"
	"github.com/weft-net/weft/agent/uplink/tunnels"
	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
)

// AgentMode is the mode of agent.sock.
const AgentMode = 0o660

// Bounds on the service: it is for people, and must not be what kills the agent.
const (
	maxRequest = 64 << 10
	maxStreams = 32
	stopWait   = time.Second
	// helloWait is how long a client may take to begin with HTTP/2.
	helloWait = 5 * time.Second
)

// Line is what is known of the servers and from them.
type Line interface {
	Status() uplink.Status
	Objects() []intent.Object
	Problems() []intent.Problem
	Tunnels() []tunnels.Tunnel
}

// Loop is what is known of the kernel's keeping.
type Loop interface {
	Applied() int64
	Drift(context.Context) ([]datapath.Op, error)
}

// Heal is one repair of what others changed.
type Heal struct {
	At   time.Time
	Step string
	Took time.Duration
}

// Agent answers for this node.
type Agent struct {
	weftv1.UnimplementedAgentServer

	Version   string
	Line      Line
	Loop      Loop
	Intent    func() (intent.Node, bool) // with the underlay as it is now
	Underlay  func() []intent.Underlay
	Endpoints func() []uplink.Endpoint
	Heals     func() []Heal // newest first
	Kernel    func(context.Context) (datapath.State, error)
	Settings  func() []string // of the host, that the agent has changed
	Log       Log             // nil: none
	Breaks    Breaks          // nil: none
	Mesh      Mesh            // nil: none
	Tailnet   Tailnet         // nil: none
	// Echo sends echo requests between two addresses: probe.Echo.
	Echo   func(ctx context.Context, from, to netip.Addr, count int) (sent, received int, rtt time.Duration, err error)
	Config func() []string // what the agent runs with, a line a setting, without secrets
	Checks func(context.Context) ([]Check, error)
}

// Serve answers on l until ctx ends.
func (a *Agent) Serve(ctx context.Context, l net.Listener) error {
	s := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxRequest), grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(helloWait), grpc.WaitForHandlers(true))
	weftv1.RegisterAgentServer(s, a)
	healthv1.RegisterHealthServer(s, health.NewServer())
	reflection.Register(s)
	stop := context.AfterFunc(ctx, func() {
		force := time.AfterFunc(stopWait, s.Stop)
		defer force.Stop()
		s.GracefulStop()
	})
	defer stop()
	if err := s.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("local: agent socket: %w", err)
	}
	return nil
}

// GetStatus implements the service.
func (a *Agent) GetStatus(context.Context, *weftv1.GetStatusRequest) (*weftv1.GetStatusResponse, error) {
	n, _ := a.Intent()
	self, _ := n.Self()
	line := a.Line.Status()
	out := &weftv1.GetStatusResponse{
		Paused: a.paused(),
		Node:   n.Name, Version: a.Version, Epoch: line.Epoch, Revision: line.Revision, AppliedRevision: a.Loop.Applied(),
		Server: line.Server, ServerProxy: line.Proxy, Tunnels: serverTunnels(a.Line.Tunnels()), Addresses: intent.EncodeUnderlay(a.Underlay()), Endpoints: uint32(len(a.Endpoints())),
		PodMtu: uint32(n.Cluster.PodMTU(self)), Looking: line.Looking,
	}
	if a.Settings != nil {
		out.Settings = a.Settings()
	}
	for _, l := range self.Lease {
		out.Lease = append(out.Lease, l.String())
	}
	if !line.Heard.IsZero() {
		out.ServerHeardUnix = line.Heard.Unix()
	}
	if !line.CertificateEnd.IsZero() {
		out.CertificateEndsUnix = line.CertificateEnd.Unix()
	}
	for _, p := range a.Line.Problems() {
		out.Problems = append(out.Problems, &weftv1.Problem{Subject: p.Subject, Cause: p.Cause, Remedy: p.Remedy, SinceUnix: p.SinceUnix, Node: n.Name})
	}
	for _, p := range n.Peers {
		if p.Name != n.Name {
			out.Peers++
		}
	}
	return out, nil
}

func serverTunnels(ts []tunnels.Tunnel) []*weftv1.ServerTunnel {
	var out []*weftv1.ServerTunnel
	for _, t := range ts {
		m := &weftv1.ServerTunnel{
			Server: t.Server, State: string(t.State), SinceUnix: t.Since.Unix(), Of: t.Of, Proxy: t.Proxy,
			RoundTripMicro: t.RTT.Microseconds(), Streams: uint32(t.Streams), Draining: uint32(t.Draining),
		}
		if t.Err != nil {
			m.Error = t.Err.Error()
		}
		if !t.Next.IsZero() {
			m.NextUnix = t.Next.Unix()
		}
		out = append(out, m)
	}
	return out
}

// GetIntent implements the service.
func (a *Agent) GetIntent(context.Context, *weftv1.GetIntentRequest) (*weftv1.GetIntentResponse, error) {
	n, ok := a.Intent()
	if !ok {
		return nil, status.Error(codes.NotFound, "local: no server has sent a complete intent yet")
	}
	m := &weftv1.NodeIntent{Epoch: n.Epoch, Revision: n.Revision, CompileVersion: n.Compile}
	for _, o := range a.Line.Objects() {
		m.Objects = append(m.Objects, &weftv1.Set{Collection: o.Collection, Key: o.Key, Revision: o.Revision, Value: o.Value})
	}
	return &weftv1.GetIntentResponse{Intent: m, Text: n.Text()}, nil
}

// GetKernel implements the service.
func (a *Agent) GetKernel(ctx context.Context, _ *weftv1.GetKernelRequest) (*weftv1.GetKernelResponse, error) {
	s, err := a.Kernel(ctx)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "local: look at the kernel: %v", err)
	}
	keys := make([]datapath.Key, 0, len(s))
	for k := range s {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareKeys)
	out := &weftv1.GetKernelResponse{}
	for _, k := range keys {
		out.Objects = append(out.Objects, s[k].String())
	}
	return out, nil
}

// GetDrift implements the service.
func (a *Agent) GetDrift(ctx context.Context, _ *weftv1.GetDriftRequest) (*weftv1.GetDriftResponse, error) {
	ops, err := a.Loop.Drift(ctx)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "local: look for drift: %v", err)
	}
	out := &weftv1.GetDriftResponse{}
	for _, op := range ops {
		out.Steps = append(out.Steps, op.String())
	}
	return out, nil
}

// ListEndpoints implements the service.
func (a *Agent) ListEndpoints(context.Context, *weftv1.ListEndpointsRequest) (*weftv1.ListEndpointsResponse, error) {
	n, _ := a.Intent()
	out := &weftv1.ListEndpointsResponse{}
	for _, e := range a.Endpoints() {
		out.Endpoints = append(out.Endpoints, e.Record(n.Name))
	}
	return out, nil
}

// ListPeers implements the service.
func (a *Agent) ListPeers(context.Context, *weftv1.ListPeersRequest) (*weftv1.ListPeersResponse, error) {
	n, _ := a.Intent()
	self, _ := n.Self()
	out := &weftv1.ListPeersResponse{}
	for _, p := range n.Peers {
		if p.Name != n.Name {
			out.Peers = append(out.Peers, a.chosen(peerStatus(n.Cluster.Path(self, p), p)))
		}
	}
	return out, nil
}

// ListHeals implements the service.
func (a *Agent) ListHeals(context.Context, *weftv1.ListHealsRequest) (*weftv1.ListHealsResponse, error) {
	out := &weftv1.ListHealsResponse{}
	for _, h := range a.Heals() {
		out.Heals = append(out.Heals, &weftv1.Heal{AtUnixMilli: h.At.UnixMilli(), Step: h.Step, TookMicros: h.Took.Microseconds()})
	}
	return out, nil
}
