package local

import (
	"context"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Check is one thing that was tested about the node.
type Check struct {
	Result  string // ok, warn, FAIL
	Subject string
	Found   string
	Remedy  string
}

// CheckConfig implements the service.
func (a *Agent) CheckConfig(ctx context.Context, _ *weftv1.CheckConfigRequest) (*weftv1.CheckConfigResponse, error) {
	checks, err := a.Checks(ctx)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "local: check the configuration: %v", err)
	}
	out := &weftv1.CheckConfigResponse{}
	for _, c := range checks {
		out.Checks = append(out.Checks, &weftv1.ConfigCheck{Result: c.Result, Subject: c.Subject, Found: c.Found, Remedy: c.Remedy})
	}
	return out, nil
}
