package egress

import (
	"cmp"
	"context"
	"slices"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// States of a tunnel.
const (
	Ready    = "Ready"
	Draining = "Draining"
)

// Service answers weft.v1.Egress.
type Service struct {
	weftv1.UnimplementedEgressServer
	Gate *Gate
	// Asker is who calls.
	Asker func(ctx context.Context) Asker
}

func (l listed) state() string {
	if l.draining {
		return Draining
	}
	return Ready
}

// here are this server's tunnels, of one node or of all.
func (g *Gate) here(node string) (out []*weftv1.Tunnel) {
	for _, l := range g.sessions.list() {
		if node != "" && l.node != node || l.gone() {
			continue
		}
		f := l.link.Figures()
		out = append(out, &weftv1.Tunnel{
			Node: l.node, Server: g.Server, State: l.state(), SinceUnix: l.since.Unix(), Address: l.from,
			Instance: l.instance, Protocol: l.protocol, RoundTripMicro: f.RoundTrip.Microseconds(),
			Streams: uint32(f.Streams), StreamsTotal: f.Opened, BytesSent: f.Sent, BytesReceived: f.Received,
			Stalls: f.Stalls, BufferedBytes: f.Buffered,
		})
	}
	return out
}

// ListHeld implements weftv1.EgressServer.
func (s *Service) ListHeld(_ context.Context, r *weftv1.ListHeldRequest) (*weftv1.ListHeldResponse, error) {
	return &weftv1.ListHeldResponse{Tunnels: s.Gate.here(r.GetNode())}, nil
}

// ListTunnels implements weftv1.EgressServer.
func (s *Service) ListTunnels(ctx context.Context, r *weftv1.ListTunnelsRequest) (*weftv1.ListTunnelsResponse, error) {
	others, silent := s.Gate.heldByOthers(ctx, r.GetNode())
	all := append(s.Gate.here(r.GetNode()), others...)
	slices.SortStableFunc(all, func(a, b *weftv1.Tunnel) int {
		return cmp.Or(cmp.Compare(a.GetNode(), b.GetNode()), cmp.Compare(a.GetServer(), b.GetServer()))
	})
	return &weftv1.ListTunnelsResponse{Tunnels: all, Silent: silent}, nil
}

// WhoServes implements weftv1.EgressServer.
func (s *Service) WhoServes(ctx context.Context, r *weftv1.WhoServesRequest) (*weftv1.WhoServesResponse, error) {
	to, err := Request{Host: r.GetHost(), Port: anyPort, Node: r.GetNode()}.checked()
	if err != nil {
		return nil, invalid(err)
	}
	mode, fallback := s.Gate.atlas.mode()
	out := &weftv1.WhoServesResponse{Mode: mode, Fallback: fallback}
	ctx, cancel := context.WithTimeout(ctx, askWithin*2)
	defer cancel()
	aims, no := s.Gate.aims(ctx, to)
	if no != nil {
		out.Ways = append(out.Ways, s.Gate.noWay(to, no))
	}
	for _, a := range aims {
		out.Ways = append(out.Ways, s.Gate.wayOf(ctx, a))
	}
	return out, nil
}

// anyPort stands for a port where none matters.
const anyPort = 1

// noWay is a target that has no way.
func (g *Gate) noWay(to Request, no *Refusal) *weftv1.DialWay {
	w := &weftv1.DialWay{Via: "none", Why: no.Error()}
	if addr, ok := to.addr(); ok {
		p := g.atlas.place(addr)
		w.Address, w.Kind, w.Nodes = to.Host, string(p.Kind), p.Nodes
		if p.Prefix.IsValid() {
			w.Prefix = p.Prefix.String()
		}
	}
	return w
}

// wayOf is the way of an aim, with the servers that would be asked.
func (g *Gate) wayOf(ctx context.Context, a aim) *weftv1.DialWay {
	if a.way.Via == ByAny {
		a.way.Node = g.anyNode(ctx)
	}
	w := &weftv1.DialWay{Via: string(a.way.Via), Node: a.way.Node, Why: a.host() + " " + a.way.Why, Kind: string(a.place.Kind), Nodes: a.place.Nodes}
	if a.Node != "" {
		w.Why = a.way.Why
	}
	if a.addr.IsValid() {
		w.Address = a.addr.String()
	}
	if a.place.Prefix.IsValid() {
		w.Prefix = a.place.Prefix.String()
	}
	if a.way.Node == "" {
		return w
	}
	if g.sessions.get(a.way.Node) != nil {
		w.Servers = append(w.Servers, g.Server)
	}
	others, _ := g.elsewhere(ctx, a.way.Node)
	w.Servers = append(w.Servers, others...)
	return w
}

// CheckDial implements weftv1.EgressServer.
func (s *Service) CheckDial(ctx context.Context, r *weftv1.CheckDialRequest) (*weftv1.CheckDialResponse, error) {
	if r.GetPort() == 0 || r.GetPort() > 65535 {
		return nil, status.Errorf(codes.InvalidArgument, "port: %d is none; accepted: 1 to 65535", r.GetPort())
	}
	to, err := Request{Host: r.GetHost(), Port: uint16(r.GetPort()), Node: r.GetNode()}.checked()
	if err != nil {
		return nil, invalid(err)
	}
	by := s.Asker(ctx)
	if r.GetUser() != "" || r.GetRole() != "" {
		by.User, by.Role = r.GetUser(), r.GetRole()
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin*2)
	defer cancel()
	aims, no := s.Gate.aims(ctx, to)
	if no != nil {
		return &weftv1.CheckDialResponse{Rule: no.Rule, Reason: no.Reason, Remedy: no.Remedy, Way: s.Gate.noWay(to, no)}, nil
	}
	var out *weftv1.CheckDialResponse
	for _, a := range aims { // as they would be tried
		if a.way.Via == ByAny {
			a.way.Node = s.Gate.anyNode(ctx)
		}
		v := s.Gate.check(by, a)
		out = &weftv1.CheckDialResponse{Allowed: v.Allow, Rule: v.Rule, Reason: v.Reason, Remedy: v.Remedy, Way: s.Gate.wayOf(ctx, a)}
		if v.Allow {
			break
		}
	}
	return out, nil
}

func invalid(err error) error { return status.Error(codes.InvalidArgument, "host: "+err.Error()) }

// defaultDials is how many dials are listed where nobody says how many.
const defaultDials = 100

// ListDials implements weftv1.EgressServer.
func (s *Service) ListDials(_ context.Context, r *weftv1.ListDialsRequest) (*weftv1.ListDialsResponse, error) {
	limit := int(r.GetLimit())
	if limit == 0 {
		limit = defaultDials
	}
	out := &weftv1.ListDialsResponse{}
	for _, d := range s.Gate.traces.newest() {
		if len(out.Dials) >= limit {
			break
		}
		m := d.wire()
		if r.GetNode() != "" && m.Node != r.GetNode() || r.GetFailed() && m.Reason == "" {
			continue
		}
		out.Dials = append(out.Dials, m)
	}
	return out, nil
}

// wire is a trace as it is told.
func (d *trace) wire() *weftv1.DialTrace {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := &weftv1.DialTrace{
		Id: d.id, AtUnixMilli: d.at.UnixMilli(), User: d.by.User, Role: d.by.Role, Front: d.by.Front,
		Target: d.to.String(), Via: string(d.way.Via), Node: d.way.Node, Server: d.server, Why: d.way.Why,
		Result: d.result(), BytesSent: uint64(d.sent.Load()), BytesReceived: uint64(d.received.Load()),
	}
	if d.addr != d.to.Host {
		m.Address = d.addr
	}
	if m.Node == "" {
		m.Node = d.to.Node
	}
	if d.refusal != nil {
		m.Rule, m.Reason = d.refusal.Rule, d.refusal.Error()
	}
	for _, s := range d.steps {
		m.Steps = append(m.Steps, &weftv1.DialStep{Name: s.name, Micro: s.took.Microseconds()})
	}
	if !d.opened.IsZero() {
		until := time.Now()
		if !d.closed.IsZero() {
			until = d.closed
		}
		m.OpenMilli = until.Sub(d.opened).Milliseconds()
	}
	return m
}
