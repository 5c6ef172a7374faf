package local

import (
	"context"
	"slices"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// answered are the methods that a server may ask over the stream.
var answered = []string{
	"GetStatus", "GetKernel", "GetDrift", "ListPeers", "ListHeals", "ListLog", "GetConfig", "SetLogLevel", "Probe", "GetMesh", "RotateKeys",
}

// Answer answers a method of the service whose messages are encoded: what a
// server asks over the stream is what a person asks on the socket.
func (a *Agent) Answer(ctx context.Context, method string, request []byte) ([]byte, error) {
	if !slices.Contains(answered, method) {
		return nil, status.Errorf(codes.Unimplemented, "this agent does not answer %.64q over the stream", method)
	}
	for _, m := range weftv1.Agent_ServiceDesc.Methods {
		if m.MethodName != method {
			continue
		}
		decode := func(into any) error {
			if err := proto.Unmarshal(request, into.(proto.Message)); err != nil {
				return status.Errorf(codes.InvalidArgument, "the request of %s: %v", method, err)
			}
			return nil
		}
		out, err := m.Handler(a, ctx, decode, nil)
		if err != nil {
			return nil, err
		}
		return proto.Marshal(out.(proto.Message))
	}
	return nil, status.Errorf(codes.Unimplemented, "there is no method %.64q", method)
}
