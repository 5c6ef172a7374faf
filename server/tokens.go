package server

import (
	"context"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/identity"
)

// tokens are identity's, as admin asks for them.
type tokens struct{ *identity.Authority }

// CreateToken implements admin.Tokens.
func (t tokens) CreateToken(ctx context.Context, r *weftv1.TokensCreateRequest) (*weftv1.TokensCreateResponse, error) {
	made, token, err := t.Authority.CreateToken(ctx, identity.TokenSpec{
		TTL:         ttl(r.GetTtlSeconds()),
		Uses:        r.GetUses(),
		Nodes:       r.GetNodes(),
		Labels:      r.GetLabels(),
		Description: r.GetDescription(),
		Replace:     r.GetReplace(),
		Ephemeral:   r.GetEphemeral(),
	})
	if err != nil {
		return nil, err
	}
	return &weftv1.TokensCreateResponse{Token: made.Reveal(), Status: tokenStatus(token)}, nil
}

// ttl reads seconds without overflow.
func ttl(seconds int64) time.Duration {
	const longest = 100 * 365 * 24 * time.Hour
	return time.Duration(min(seconds, int64(longest/time.Second))) * time.Second
}

// ListTokens implements admin.Tokens.
func (t tokens) ListTokens(ctx context.Context) ([]*weftv1.TokenStatus, error) {
	list, err := t.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]*weftv1.TokenStatus, 0, len(list))
	for _, token := range list {
		out = append(out, tokenStatus(token))
	}
	return out, nil
}

func tokenStatus(t identity.Token) *weftv1.TokenStatus {
	return &weftv1.TokenStatus{
		Id: t.ID, Description: t.Description, CreatedUnix: t.CreatedUnix, ExpiresUnix: t.ExpiresUnix,
		Uses: t.Uses, Used: t.Used, Nodes: t.Nodes, Labels: t.Labels, Replace: t.Replace, Ephemeral: t.Ephemeral,
	}
}
