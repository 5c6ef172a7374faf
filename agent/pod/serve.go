package pod

import (
	"context"

	"github.com/weft-net/weft/proto/cniwire"
)

// Serve does what one request asks for. Whoever took it gives ctx the verb's
// deadline.
func (k *Keeper) Serve(ctx context.Context, req cniwire.Request) cniwire.Response {
	var resp cniwire.Response
	var err error
	switch req.Verb {
	case cniwire.Add:
		resp.Result, err = k.Add(ctx, req)
	case cniwire.Del:
		err = k.Del(ctx, req)
	case cniwire.Check:
		err = k.Check(ctx, req)
	case cniwire.Status:
		err = k.Status(req)
	case cniwire.GC:
		err = k.GC(ctx, req)
	default:
		err = cniwire.Errorf(cniwire.CodeEnvironment, "pod: unknown verb %q", req.Verb)
	}
	resp.Error = cniwire.AsError(err)
	if resp.Error != nil {
		resp.Result = nil
	}
	return resp
}
