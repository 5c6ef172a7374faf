package identity

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/store"
)

// readmit records a node that the store forgot: it joined after the backup that
// the store was restored from. Its certificate is proof enough, for only this
// fabric's CA signs them, if it was signed before the restore. A name that is
// recorded, with another key or as revoked, is as the backup has it.
func (a *Authority) readmit(ctx context.Context, cert *x509.Certificate) error {
	p, err := a.named(cert, cert.NotBefore)
	if err != nil || p.Role != RoleNode || a.book.Revision() == 0 {
		return nil // whoever authorises says why
	}
	if _, known := a.Node(p.Name); known {
		return nil
	}
	restored, err := a.restored(ctx)
	if err != nil || restored.IsZero() || !cert.NotBefore.Before(restored) {
		return err
	}
	err = a.swap(ctx, func() (txn store.Txn, err error) {
		_, revision, err := read[Node](ctx, a.store, nodeKey(p.Name))
		if err != nil || revision != 0 {
			return txn, err
		}
		now := time.Now()
		n := Node{
			Schema: schema.Identity.Version(), Name: p.Name, Token: "readmitted", JoinedUnix: now.Unix(),
			Key: Key{Hash: keyHash(cert.RawSubjectPublicKeyInfo), CreatedUnix: now.Unix(), EndsUnix: cert.NotAfter.Unix()},
		}
		if err := put(&txn, nodeKey(p.Name), revision, n); err != nil {
			return txn, err
		}
		return txn, a.putObject(ctx, &txn, claim{node: p.Name, now: now}, nil)
	})
	if err != nil {
		return fmt.Errorf("identity: readmit node %s: %w", p.Name, err)
	}
	a.config.Log.Warn("node readmitted", note.Node, p.Name, note.Why, "it joined after the backup that was restored")
	return nil
}

// restored is when the store was last restored; the zero Time if it never was.
func (a *Authority) restored(ctx context.Context) (time.Time, error) {
	e, err := a.store.Get(ctx, store.Restored)
	if errors.Is(err, store.ErrNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("identity: %w", err)
	}
	var r struct {
		TimeUnix int64 `json:"timeUnix"` // seconds since 1970
	}
	if err := json.Unmarshal(e.Value, &r); err != nil {
		return time.Time{}, fmt.Errorf("identity: %s: %w", e.Key, err)
	}
	return time.Unix(r.TimeUnix, 0), nil
}

// ReviveTokens records the tokens of this server's data folder in a store that was
// lost and knows none: images of machines hold the agents'.
func (a *Authority) ReviveTokens(ctx context.Context) error {
	for _, f := range []struct {
		name string
		key  func(id string) string
	}{{agentTokenFile, tokenKey}, {serverTokenFile, serverTokenKey}} {
		path := filepath.Join(a.config.DataDir, f.name)
		held, err := join.LoadToken(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("identity: %w (it was not touched)", err)
		}
		t := token{Schema: schema.Identity.Version(), Hash: secretHash(held.Secret), Token: Token{
			ID: held.ID, Description: "in " + path + ", as before the store was lost", CreatedUnix: time.Now().Unix(),
		}}
		var txn store.Txn
		if err := put(&txn, f.key(t.ID), 0, t); err != nil {
			return err
		}
		if _, err := a.store.Commit(ctx, txn); err != nil && !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("identity: store token: %w", err)
		}
	}
	return nil
}
