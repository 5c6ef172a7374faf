package identity

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

const (
	defaultTokenLife = 24 * time.Hour
)

// TokenSpec says what a token may do.
type TokenSpec struct {
	TTL         time.Duration     // 0 means 24 h, less than 0 that it does not expire
	Uses        uint32            // 0 means without limit
	Nodes       []string          // names that may use it; none means any
	Labels      map[string]string // that a node gets when it joins with it
	Description string
	Replace     bool // it may give a recorded name another key; needs Nodes
	Ephemeral   bool // nodes that join with it are deleted when they go
}

// Token is a token without its secret.
type Token struct {
	ID          string            `json:"id"`
	Description string            `json:"description,omitempty"`
	CreatedUnix int64             `json:"createdUnix"`
	ExpiresUnix int64             `json:"expiresUnix,omitempty"` // 0: never
	Uses        uint32            `json:"uses,omitempty"`        // 0: without limit
	Used        uint32            `json:"used,omitempty"`        // of a token without limit: nodes that joined with it
	Nodes       []string          `json:"nodes,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Replace     bool              `json:"replace,omitempty"`
	Ephemeral   bool              `json:"ephemeral,omitempty"`
}

// token is a Token as it is stored. A plain hash is enough for a secret of 160
// random bits.
type token struct {
	Token
	Schema int    `json:"schema"`
	Hash   string `json:"sha256"` // hex, of the secret
}

func secretHash(s note.Secret) string {
	sum := sha256.Sum256([]byte(s.Reveal()))
	return hex.EncodeToString(sum[:])
}

// opens says whether a secret is the token's, in constant time.
func (t token) opens(s note.Secret) bool {
	return subtle.ConstantTimeCompare([]byte(t.Hash), []byte(secretHash(s))) == 1
}

func (s TokenSpec) check() error {
	terms := kind.TokenTerms{Nodes: s.Nodes, Labels: s.Labels, Description: s.Description, Replace: s.Replace}
	if err := terms.Validate(); err != nil {
		return fmt.Errorf("identity: the token: %w", err)
	}
	return nil
}

// CreateToken makes a token. What it answers is the only copy of the secret.
func (a *Authority) CreateToken(ctx context.Context, s TokenSpec) (join.Token, Token, error) {
	if err := s.check(); err != nil {
		return join.Token{}, Token{}, err
	}
	now := time.Now()
	made := join.NewToken(a.roots().issuing.cert)
	nodes := slices.Compact(slices.Sorted(slices.Values(s.Nodes)))
	t := token{Schema: schema.Identity.Version(), Hash: secretHash(made.Secret), Token: Token{
		ID: made.ID, Description: s.Description, CreatedUnix: now.Unix(), Uses: s.Uses,
		Nodes: nodes, Labels: maps.Clone(s.Labels), Replace: s.Replace, Ephemeral: s.Ephemeral,
	}}
	if s.TTL >= 0 {
		t.ExpiresUnix = now.Add(cmp.Or(s.TTL, defaultTokenLife)).Unix()
	}
	var txn store.Txn
	if err := put(&txn, tokenKey(t.ID), 0, t); err != nil {
		return join.Token{}, Token{}, err
	}
	if _, err := a.store.Commit(ctx, txn); err != nil {
		return join.Token{}, Token{}, fmt.Errorf("identity: store token: %w", err)
	}
	return made, t.Token, nil
}

// Tokens lists the tokens by creation, the expired and used up among them.
func (a *Authority) Tokens(ctx context.Context) ([]Token, error) {
	entries, _, err := a.store.List(ctx, tokenKey(""))
	if err != nil {
		return nil, fmt.Errorf("identity: list tokens: %w", err)
	}
	joined := map[string]uint32{}
	for _, n := range a.Nodes() {
		joined[n.Token]++
	}
	list := make([]Token, 0, len(entries))
	for _, e := range entries {
		t, err := decode[token](e)
		if err != nil {
			return nil, err
		}
		if t.Uses == 0 {
			t.Used = joined[t.ID]
		}
		list = append(list, t.Token)
	}
	slices.SortStableFunc(list, func(a, b Token) int { return cmp.Compare(a.CreatedUnix, b.CreatedUnix) })
	return list, nil
}

// RevokeToken ends a token. Nodes that joined with it stay. One that is not there
// is store.ErrNotFound.
func (a *Authority) RevokeToken(ctx context.Context, id string) error {
	err := a.swap(ctx, func() (store.Txn, error) {
		e, err := a.store.Get(ctx, tokenKey(id))
		return store.Txn{If: []store.Cond{{Key: e.Key, Revision: e.Revision}}, Then: []store.Write{{Key: e.Key}}}, err
	})
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("identity: there is no token %q; weft token list shows what there is: %w", id, store.ErrNotFound)
	}
	return err
}

// keepAgentToken writes the first join token, which does not expire: images of
// machines hold it. If the file is lost another one is made; the lost one stays
// good, for those that hold it, until it is revoked.
func (a *Authority) keepAgentToken(ctx context.Context) error {
	path := filepath.Join(a.config.DataDir, agentTokenFile)
	held, err := join.LoadToken(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("identity: %w; move it away and start again: another one is made (it was not touched)", err)
	case !a.roots().knows(held.CAHash):
		return otherFabric(path)
	default:
		return nil
	}
	made, _, err := a.CreateToken(ctx, TokenSpec{TTL: -1, Description: "first token, in " + path})
	if err != nil {
		return err
	}
	if err := made.Save(path); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	a.config.Log.Info("join token written", note.Path, path)
	return nil
}

func otherFabric(path string) error {
	return fmt.Errorf("identity: %s is of another fabric than the store; look whether the store is the right one (--data-dir, --etcd-endpoints); "+
		"if that fabric is gone for good, move the file away and start again (it was not touched)", path)
}
