package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/store"
)

const (
	adminName   = "admin"
	maxUserKeys = 64
)

// keepAdmin writes the first operator's credentials if they are not there, and
// again when they are about to end or the roots are others. A file that cannot be
// read is left alone. A key that the store does not know is recorded: the store was
// restored from a time before it, and who holds the file holds the server.
func (a *Authority) keepAdmin(ctx context.Context) error {
	path := filepath.Join(a.config.DataDir, adminFile)
	u, _, err := read[user](ctx, a.store, userKey(adminName))
	if err != nil {
		return fmt.Errorf("identity: read user %s: %w", adminName, err)
	}
	if u.RevokedUnix != 0 {
		a.config.Log.Warn("user admin is revoked", note.Path, path, note.Do, "nothing, if others are admins; else on this machine: weft-server admin --user NAME")
		return nil
	}
	held, err := join.LoadCredentials(path)
	server, key := a.config.Server, (*ecdsa.PrivateKey)(nil)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("identity: %w (it was not touched)", err)
	case !a.roots().knowsAny(held.CA):
		return otherFabric(path)
	case a.fresh(held, u):
		return nil
	default:
		server = held.Server // an operator may have edited it
		if held.Valid(time.Now().Add(renewBefore)) == nil {
			key = keyOf(held) // so that copies of the file stay good
		}
	}
	made, err := a.Admin(ctx, adminName, server, key)
	if err != nil {
		return err
	}
	made.Others = held.Others
	if err := made.Save(path); err != nil {
		return fmt.Errorf("identity: %w; the server must be able to write to its data folder (--data-dir)", err)
	}
	a.config.Log.Info("operator credentials written", note.Path, path)
	return nil
}

// SetServers keeps the list of further servers in admin.yaml, https://host:port
// each. A file that is not there, or cannot be read, is left to others.
func (a *Authority) SetServers(urls []string) error {
	path := filepath.Join(a.config.DataDir, adminFile)
	held, err := join.LoadCredentials(path)
	if err != nil {
		return nil
	}
	others := slices.DeleteFunc(slices.Clone(urls), func(u string) bool { return u == held.Server })
	if slices.Equal(others, held.Others) {
		return nil
	}
	held.Others = others
	if err := held.Save(path); err != nil {
		return fmt.Errorf("identity: %w; the server must be able to write to its data folder (--data-dir)", err)
	}
	return nil
}

// fresh says that credentials need no renewal yet.
func (a *Authority) fresh(held join.Credentials, u user) bool {
	r := a.roots()
	if string(held.CA) != string(r.pem()) || held.Valid(time.Now().Add(renewBefore)) != nil {
		return false
	}
	key := keyOf(held)
	if key == nil {
		return false
	}
	hash, err := publicHash(key)
	return err == nil && slices.ContainsFunc(u.Keys, func(k Key) bool {
		return k.Hash == hash && (k.Root == r.issuing.hash || k.Root == "" && len(r.old) == 0)
	})
}

// keyOf is the key of credentials, or nil for one of another kind than we make.
func keyOf(c join.Credentials) *ecdsa.PrivateKey {
	block, _ := pem.Decode([]byte(c.Key.Reveal()))
	if block == nil {
		return nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil
	}
	key, _ := parsed.(*ecdsa.PrivateKey)
	return key
}

func publicHash(key *ecdsa.PrivateKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", fmt.Errorf("identity: %w", err)
	}
	return keyHash(der), nil
}

// Admin makes credentials of an admin, here on the server's machine, and records
// their key; a nil key is made. A user that is there and is none is refused.
func (a *Authority) Admin(ctx context.Context, name, server string, key *ecdsa.PrivateKey) (join.Credentials, error) {
	if err := intent.ValidName(name); err != nil {
		return join.Credentials{}, fmt.Errorf("identity: the user's name %w", err)
	}
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return join.Credentials{}, fmt.Errorf("identity: key of user %s: %w", name, err)
		}
	}
	r := a.roots()
	cert, err := r.issuing.sign(time.Now(), userTemplate(name, RoleAdmin), key.Public(), userLife)
	if err != nil {
		return join.Credentials{}, err
	}
	now := time.Now().Unix()
	err = a.swap(ctx, func() (txn store.Txn, err error) {
		u, revision, err := read[user](ctx, a.store, userKey(name))
		switch {
		case err != nil:
			return txn, err
		case u.RevokedUnix != 0:
			return txn, fmt.Errorf("user %s was revoked at %s, for good; choose another name", name, utc(u.RevokedUnix))
		case revision != 0 && u.role() != RoleAdmin:
			return txn, fmt.Errorf("user %s has role %s; choose another name", name, u.role())
		case revision == 0:
			u.CreatedUnix = now
		}
		u.Schema, u.Name = schema.Identity.Version(), name
		u.add(Key{Hash: keyHash(cert.RawSubjectPublicKeyInfo), CreatedUnix: now, EndsUnix: cert.NotAfter.Unix(), Root: r.issuing.hash})
		return txn, put(&txn, userKey(name), revision, u)
	})
	if err != nil {
		return join.Credentials{}, fmt.Errorf("identity: record user %s: %w", name, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return join.Credentials{}, fmt.Errorf("identity: key of user %s: %w", name, err)
	}
	return join.Credentials{
		Server: server, User: name, CA: r.pem(), Cert: certPEM(cert),
		Key: note.Secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}, nil
}

// add records a key in place of what was recorded of it, drops those whose
// certificates ended, and the oldest of too many.
func (u *user) add(k Key) {
	now := time.Now().Unix()
	u.Keys = append(slices.DeleteFunc(u.Keys, func(o Key) bool { return o.EndsUnix < now || o.Hash == k.Hash }), k)
	u.Keys = u.Keys[max(0, len(u.Keys)-maxUserKeys):]
}

// AdminHere makes credentials of an admin on a server's own machine, from its data
// folder and its store, whether the server runs or not: for who has none that count.
func AdminHere(ctx context.Context, s store.Store, c Config, name string) (join.Credentials, error) {
	c = c.withDefaults()
	counting, err := readRoots(ctx, s, filepath.Join(c.DataDir, serverKeyFile))
	if errors.Is(err, store.ErrNotFound) {
		return join.Credentials{}, fmt.Errorf("identity: the store holds no fabric yet; start weft-server once, it writes %s", filepath.Join(c.DataDir, adminFile))
	}
	if err != nil {
		return join.Credentials{}, err
	}
	a := &Authority{config: c, store: s, book: store.NewCache(s, store.Identity)}
	a.counting.Store(counting)
	return a.Admin(ctx, name, c.Server, nil)
}
