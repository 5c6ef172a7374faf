package fabrictest

import (
	"context"
	"fmt"
	"slices"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type tokens struct {
	weftv1.UnimplementedTokensServer
	f *Fabric
}

func (s tokens) Create(_ context.Context, r *weftv1.TokensCreateRequest) (*weftv1.TokensCreateResponse, error) {
	s.f.Lock()
	defer s.f.Unlock()
	if r.GetReplace() && len(r.GetNodes()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "a token that replaces names its nodes")
	}
	t := &weftv1.TokenStatus{
		Id: fmt.Sprintf("t%d", len(s.f.tokens)+1), Description: r.GetDescription(), CreatedUnix: Now,
		Uses: r.GetUses(), Nodes: r.GetNodes(), Labels: r.GetLabels(), Replace: r.GetReplace(),
	}
	switch ttl := r.GetTtlSeconds(); {
	case ttl == 0:
		t.ExpiresUnix = Now + day
	case ttl > 0:
		t.ExpiresUnix = Now + ttl
	}
	s.f.tokens = append(s.f.tokens, t)
	return &weftv1.TokensCreateResponse{Token: "weft1.hash." + t.GetId() + ".secret", Status: t}, nil
}

func (s tokens) List(context.Context, *weftv1.TokensListRequest) (*weftv1.TokensListResponse, error) {
	s.f.Lock()
	defer s.f.Unlock()
	return &weftv1.TokensListResponse{Tokens: s.f.tokens}, nil
}

func (s tokens) Revoke(_ context.Context, r *weftv1.TokensRevokeRequest) (*weftv1.TokensRevokeResponse, error) {
	s.f.Lock()
	defer s.f.Unlock()
	before := len(s.f.tokens)
	s.f.tokens = slices.DeleteFunc(s.f.tokens, func(t *weftv1.TokenStatus) bool { return t.GetId() == r.GetId() })
	if len(s.f.tokens) == before {
		return nil, status.Errorf(codes.NotFound, "there is no token %q", r.GetId())
	}
	return &weftv1.TokensRevokeResponse{}, nil
}
