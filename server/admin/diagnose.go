package admin

import (
	"context"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Log is what this server logs: logtail.Tail.
type Log interface {
	Lines() []string
	SetLevel(level string, d time.Duration) (base, now string, until time.Time, err error)
}

// GetKernel implements weftv1.NodesServer.
func (s *nodes) GetKernel(ctx context.Context, r *weftv1.NodesGetKernelRequest) (*weftv1.NodesGetKernelResponse, error) {
	out := &weftv1.GetKernelResponse{}
	if err := s.ask(ctx, r.GetNode(), "GetKernel", &weftv1.GetKernelRequest{}, out); err != nil {
		return nil, err
	}
	return &weftv1.NodesGetKernelResponse{Objects: out.GetObjects()}, nil
}

// GetDrift implements weftv1.NodesServer.
func (s *nodes) GetDrift(ctx context.Context, r *weftv1.NodesGetDriftRequest) (*weftv1.NodesGetDriftResponse, error) {
	out := &weftv1.GetDriftResponse{}
	if err := s.ask(ctx, r.GetNode(), "GetDrift", &weftv1.GetDriftRequest{}, out); err != nil {
		return nil, err
	}
	return &weftv1.NodesGetDriftResponse{Steps: out.GetSteps()}, nil
}

// Probe implements weftv1.NodesServer.
func (s *nodes) Probe(ctx context.Context, r *weftv1.NodesProbeRequest) (*weftv1.NodesProbeResponse, error) {
	out := &weftv1.ProbeResponse{}
	if err := s.ask(ctx, r.GetNode(), "Probe", &weftv1.ProbeRequest{Peer: r.GetPeer(), Count: r.GetCount()}, out); err != nil {
		return nil, err
	}
	return &weftv1.NodesProbeResponse{Probe: out}, nil
}

// process tells whether a request is about this server; otherwise it is about a
// node.
func (s *diagnose) here(node, server string) (bool, error) {
	switch {
	case (node == "") == (server == ""):
		return false, badField("node", "name a node or a server, one of them")
	case node != "":
		return false, nil
	case server != s.Name:
		return false, status.Errorf(codes.FailedPrecondition, "this is server %s; ask server %.60q itself (weft status names its address)", s.Name, server)
	}
	return true, nil
}

// SetLogLevel implements weftv1.DiagnoseServer.
func (s *diagnose) SetLogLevel(ctx context.Context, r *weftv1.DiagnoseSetLogLevelRequest) (*weftv1.DiagnoseSetLogLevelResponse, error) {
	here, err := s.here(r.GetNode(), r.GetServer())
	if err != nil {
		return nil, err
	}
	out := &weftv1.SetLogLevelResponse{}
	if !here {
		err := s.ask(ctx, r.GetNode(), "SetLogLevel", &weftv1.SetLogLevelRequest{Level: r.GetLevel(), ForSeconds: r.GetForSeconds()}, out)
		return &weftv1.DiagnoseSetLogLevelResponse{Level: out}, err
	}
	if s.Tail == nil {
		return nil, status.Error(codes.Unimplemented, "this process has no log of its own")
	}
	base, now, until, err := s.Tail.SetLevel(r.GetLevel(), time.Duration(r.GetForSeconds())*time.Second)
	if err != nil {
		return nil, badField("level", "%v", err)
	}
	out.Before, out.Level, out.UntilUnix = base, now, until.Unix()
	return &weftv1.DiagnoseSetLogLevelResponse{Level: out}, nil
}

// ListLog implements weftv1.DiagnoseServer.
func (s *diagnose) ListLog(ctx context.Context, r *weftv1.DiagnoseListLogRequest) (*weftv1.DiagnoseListLogResponse, error) {
	here, err := s.here(r.GetNode(), r.GetServer())
	switch {
	case err != nil:
		return nil, err
	case here && s.Tail == nil:
		return &weftv1.DiagnoseListLogResponse{}, nil
	case here:
		return &weftv1.DiagnoseListLogResponse{Lines: s.Tail.Lines()}, nil
	}
	out := &weftv1.ListLogResponse{}
	err = s.ask(ctx, r.GetNode(), "ListLog", &weftv1.ListLogRequest{}, out)
	return &weftv1.DiagnoseListLogResponse{Lines: out.GetLines()}, err
}

// GetConfig implements weftv1.DiagnoseServer.
func (s *diagnose) GetConfig(ctx context.Context, r *weftv1.DiagnoseGetConfigRequest) (*weftv1.DiagnoseGetConfigResponse, error) {
	here, err := s.here(r.GetNode(), r.GetServer())
	switch {
	case err != nil:
		return nil, err
	case here:
		return &weftv1.DiagnoseGetConfigResponse{Lines: s.Settings}, nil
	}
	out := &weftv1.GetConfigResponse{}
	err = s.ask(ctx, r.GetNode(), "GetConfig", &weftv1.GetConfigRequest{}, out)
	return &weftv1.DiagnoseGetConfigResponse{Lines: out.GetLines()}, err
}

// GetAgentStatus implements weftv1.DiagnoseServer.
func (s *diagnose) GetAgentStatus(ctx context.Context, r *weftv1.GetAgentStatusRequest) (*weftv1.GetAgentStatusResponse, error) {
	out := &weftv1.GetStatusResponse{}
	err := s.ask(ctx, r.GetNode(), "GetStatus", &weftv1.GetStatusRequest{}, out)
	return &weftv1.GetAgentStatusResponse{Status: out}, err
}

// ListHeals implements weftv1.DiagnoseServer.
func (s *diagnose) ListHeals(ctx context.Context, r *weftv1.DiagnoseListHealsRequest) (*weftv1.DiagnoseListHealsResponse, error) {
	out := &weftv1.ListHealsResponse{}
	err := s.ask(ctx, r.GetNode(), "ListHeals", &weftv1.ListHealsRequest{}, out)
	return &weftv1.DiagnoseListHealsResponse{Heals: out.GetHeals()}, err
}
