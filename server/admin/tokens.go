package admin

import (
	"context"
	"fmt"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/kind"
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
	spec := identity.TokenSpec{
		TTL: time.Duration(r.GetTtlSeconds()) * time.Second, Uses: r.GetUses(), Nodes: r.GetNodes(),
		Labels: r.GetLabels(), Description: r.GetDescription(), Replace: r.GetReplace(),
	}
	secret, t, err := s.Identity.CreateToken(ctx, spec)
	if err != nil {
		return nil, answer(err)
	}
	return &weftv1.TokensCreateResponse{Token: secret.Reveal(), Status: tokenStatus(t)}, nil
}

func tokenStatus(t identity.Token) *weftv1.TokenStatus {
	return &weftv1.TokenStatus{
		Id: t.ID, Description: t.Description, CreatedUnix: t.CreatedUnix, ExpiresUnix: t.ExpiresUnix,
		Uses: t.Uses, Used: t.Used, Nodes: t.Nodes, Labels: t.Labels, Replace: t.Replace,
	}
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
		if err := kind.ValidName(name); err != nil {
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
	list, err := s.Identity.Tokens(ctx)
	if err != nil {
		return nil, answer(err)
	}
	out := &weftv1.TokensListResponse{}
	for _, t := range list {
		out.Tokens = append(out.Tokens, tokenStatus(t))
	}
	return out, nil
}

// Revoke implements weftv1.TokensServer.
func (s *tokens) Revoke(ctx context.Context, r *weftv1.TokensRevokeRequest) (*weftv1.TokensRevokeResponse, error) {
	if r.GetId() == "" || len(r.GetId()) > 64 {
		return nil, badField("id", "%.60q is not the id of a token; weft token list shows them", r.GetId())
	}
	if err := s.Identity.RevokeToken(ctx, r.GetId()); err != nil {
		return nil, answer(err)
	}
	return &weftv1.TokensRevokeResponse{}, nil
}
