package identity

import (
	"context"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/join"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Check implements weftv1.JoinServer. Who asks has no key yet, so a name that is
// recorded is another's.
func (a *Authority) Check(ctx context.Context, r *weftv1.JoinCheckRequest) (*weftv1.JoinCheckResponse, error) {
	shown, err := a.shown(r.GetToken())
	if err != nil {
		return nil, err
	}
	if err := intent.ValidName(r.GetNode()); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "the node's name %v (--node-name)", err)
	}
	if err := validLabels(r.GetLabels()); err != nil {
		return nil, err
	}
	t, tokenRevision, err := read[token](ctx, a.store, tokenKey(shown.ID))
	if err != nil {
		return nil, silent(err)
	}
	n, nodeRevision, err := read[Node](ctx, a.store, nodeKey(r.GetNode()))
	if err != nil {
		return nil, silent(err)
	}
	c := claim{node: r.GetNode(), secret: shown.Secret, now: a.config.Now(), grace: a.config.Grace}
	if _, err := admit(c, present(t, tokenRevision), present(n, nodeRevision)); err != nil {
		return nil, err
	}
	return &weftv1.JoinCheckResponse{}, nil
}

// shown reads a token that a node shows, and refuses what can be refused without
// the store.
func (a *Authority) shown(text string) (join.Token, error) {
	t, err := join.ParseToken(text)
	switch {
	case err != nil:
		return t, status.Error(codes.InvalidArgument, err.Error())
	case !a.roots().knows(t.CAHash):
		return t, status.Error(codes.PermissionDenied, "the token is of another fabric; get one of this fabric with weft token create")
	case t.ForServer():
		return t, status.Error(codes.PermissionDenied, "this is a server token, which no node may hold; a node joins with <data-dir>/agent-token of a server, or: weft token create")
	}
	return t, nil
}

func validLabels(labels map[string]string) error {
	if err := kind.ValidLabels(labels); err != nil {
		return status.Errorf(codes.InvalidArgument, "the node's labels: %v (--node-label)", err)
	}
	return nil
}

// silent is the status of a store that does not answer, as refuse says it.
func silent(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Errorf(codes.Unavailable, "the store does not answer; try again, or another server: %v", err)
}
