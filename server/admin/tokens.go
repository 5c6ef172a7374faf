package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Create implements weftv1.TokensServer.
func (s *tokens) Create(ctx context.Context, r *weftv1.TokensCreateRequest) (*weftv1.TokensCreateResponse, error) {
	terms := kind.TokenTerms{TTL: r.GetTtlSeconds(), Nodes: r.GetNodes(), Labels: r.GetLabels(), Description: r.GetDescription(), Replace: r.GetReplace()}
	if err := terms.Validate(); err != nil {
		return nil, answer(err)
	}
	out, err := s.Tokens.CreateToken(ctx, r)
	if err == nil {
		s.tell(ctx, "Token/"+out.GetStatus().GetId(), "TokenCreated", "%s", tokenTerms(r))
	}
	return out, answer(err)
}

// tokenTerms says what a token may do, in a sentence.
func tokenTerms(r *weftv1.TokensCreateRequest) string {
	out := "for any name"
	if n := len(r.GetNodes()); n > maxTold {
		out = fmt.Sprintf("for %d names", n)
	} else if n > 0 {
		out = "for " + strings.Join(r.GetNodes(), ", ")
	}
	switch ttl := r.GetTtlSeconds(); {
	case ttl < 0:
		out += ", does not expire"
	case ttl == 0:
		out += ", expires in 24 h"
	default:
		out += fmt.Sprintf(", expires in %v", time.Duration(ttl)*time.Second)
	}
	if r.GetReplace() {
		out += ", may take over a recorded name"
	}
	return out
}

// List implements weftv1.TokensServer.
func (s *tokens) List(ctx context.Context, _ *weftv1.TokensListRequest) (*weftv1.TokensListResponse, error) {
	list, err := s.Tokens.ListTokens(ctx)
	if err != nil {
		return nil, answer(err)
	}
	return &weftv1.TokensListResponse{Tokens: list}, nil
}

// Revoke implements weftv1.TokensServer.
func (s *tokens) Revoke(ctx context.Context, r *weftv1.TokensRevokeRequest) (*weftv1.TokensRevokeResponse, error) {
	if r.GetId() == "" || len(r.GetId()) > 64 {
		return nil, badField("id", "%.60q is not the id of a token; weft token list shows them", r.GetId())
	}
	err := s.Tokens.RevokeToken(ctx, r.GetId())
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound("there is no token %q; weft token list shows what there is", r.GetId())
	}
	if err != nil {
		return nil, answer(err)
	}
	s.tell(ctx, "Token/"+r.GetId(), "TokenRevoked", "")
	return &weftv1.TokensRevokeResponse{}, nil
}
