package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Bounds on a token.
const (
	maxTokenNodes       = 1000
	maxTokenDescription = 256
	maxTokenTTL         = 10 * 365 * 24 * 3600 // seconds
)

// Create implements weftv1.TokensServer.
func (s *tokens) Create(ctx context.Context, r *weftv1.TokensCreateRequest) (*weftv1.TokensCreateResponse, error) {
	if err := checkToken(r); err != nil {
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

func checkToken(r *weftv1.TokensCreateRequest) error {
	var bad kind.FieldErrors
	add := func(field, format string, args ...any) {
		bad = append(bad, kind.FieldError{Field: field, Problem: fmt.Sprintf(format, args...)})
	}
	if ttl := r.GetTtlSeconds(); ttl < -1 || ttl > maxTokenTTL {
		add("ttl_seconds", "%d is out of bounds; accepted: 1 to %d, 0 for 24 h, -1 for a token that does not expire", ttl, maxTokenTTL)
	}
	if n := len(r.GetNodes()); n > maxTokenNodes {
		add("nodes", "has %d names; at most %d are accepted", n, maxTokenNodes)
	}
	for i, name := range r.GetNodes()[:min(len(r.GetNodes()), maxTokenNodes)] {
		if err := intent.ValidName(name); err != nil {
			add(fmt.Sprintf("nodes[%d]", i), "%v", err)
		}
	}
	if n := len(r.GetDescription()); n > maxTokenDescription {
		add("description", "has %d bytes; at most %d are accepted", n, maxTokenDescription)
	}
	if err := kind.ValidLabels(r.GetLabels()); err != nil {
		add("labels", "%v", err)
	}
	if r.GetReplace() && len(r.GetNodes()) == 0 {
		add("nodes", "is empty; a token that replaces names the nodes whose names it may take over")
	}
	if len(bad) > 0 {
		return bad
	}
	return nil
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
