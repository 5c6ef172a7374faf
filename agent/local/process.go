package local

import (
	"context"
	"time"

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
