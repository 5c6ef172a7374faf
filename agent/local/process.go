package local

import (
	"context"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Log is what the process logs: logtail.Tail.
type Log interface {
	Lines() []string
	SetLevel(level string, d time.Duration) (base, now string, until time.Time, err error)
}

// SetLogLevel implements the service.
func (a *Agent) SetLogLevel(_ context.Context, r *weftv1.SetLogLevelRequest) (*weftv1.SetLogLevelResponse, error) {
	if a.Log == nil {
		return nil, status.Error(codes.Unimplemented, "this process has no log of its own")
	}
	base, now, until, err := a.Log.SetLevel(r.GetLevel(), time.Duration(r.GetForSeconds())*time.Second)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &weftv1.SetLogLevelResponse{Before: base, Level: now, UntilUnix: until.Unix()}, nil
}

// ListLog implements the service.
func (a *Agent) ListLog(context.Context, *weftv1.ListLogRequest) (*weftv1.ListLogResponse, error) {
	if a.Log == nil {
		return &weftv1.ListLogResponse{}, nil
	}
	return &weftv1.ListLogResponse{Lines: a.Log.Lines()}, nil
}

// GetConfig implements the service.
func (a *Agent) GetConfig(context.Context, *weftv1.GetConfigRequest) (*weftv1.GetConfigResponse, error) {
	if a.Config == nil {
		return &weftv1.GetConfigResponse{}, nil
	}
	return &weftv1.GetConfigResponse{Lines: a.Config()}, nil
}

// Paused is a pause of healing.
type Paused struct {
	Until  time.Time
	Reason string
	By     string
}

// Breaks are the pauses of healing on this node.
type Breaks interface {
	Pause(d time.Duration, reason string) Paused
	Resume() (was Paused, paused bool)
	Paused() (Paused, bool)
	Untouched() int
}

// Pause implements the service.
func (a *Agent) Pause(_ context.Context, r *weftv1.PauseRequest) (*weftv1.PauseResponse, error) {
	d := time.Duration(r.GetForSeconds()) * time.Second
	switch {
	case a.Breaks == nil:
		return nil, status.Error(codes.Unimplemented, "this agent cannot pause")
	case d < time.Second || d > intent.MaxPause:
		return nil, status.Errorf(codes.InvalidArgument, "for_seconds: %d; accepted: 1 to %d", r.GetForSeconds(), int(intent.MaxPause/time.Second))
	case len(r.GetReason()) > 200 || strings.ContainsAny(r.GetReason(), "\r\n"):
		return nil, status.Error(codes.InvalidArgument, "reason: no single line of at most 200 bytes")
	}
	return &weftv1.PauseResponse{Paused: a.wirePaused(a.Breaks.Pause(d, r.GetReason()))}, nil
}

// Resume implements the service.
func (a *Agent) Resume(context.Context, *weftv1.ResumeRequest) (*weftv1.ResumeResponse, error) {
	if a.Breaks == nil {
		return &weftv1.ResumeResponse{}, nil
	}
	was, paused := a.Breaks.Resume()
	if !paused {
		return &weftv1.ResumeResponse{}, nil
	}
	return &weftv1.ResumeResponse{Was: a.wirePaused(was)}, nil
}

// paused is the pause now, for GetStatus; nil: none.
func (a *Agent) paused() *weftv1.PauseStatus {
	if a.Breaks == nil {
		return nil
	}
	if p, on := a.Breaks.Paused(); on {
		return a.wirePaused(p)
	}
	return nil
}

func (a *Agent) wirePaused(p Paused) *weftv1.PauseStatus {
	return &weftv1.PauseStatus{UntilUnix: p.Until.Unix(), Reason: p.Reason, By: p.By, Untouched: uint32(a.Breaks.Untouched())}
}
