package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

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
// again when they are about to end. A file that cannot be read is left alone.
func (a *Authority) keepAdmin(ctx context.Context) error {
	path := filepath.Join(a.config.DataDir, adminFile)
	held, err := join.LoadCredentials(path)
	server := a.config.Server
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("identity: %w (it was not touched)", err)
	case string(held.CA) != string(a.ca.pem()):
		return otherFabric(path)
	case held.Valid(time.Now().Add(renewBefore)) == nil:
		return nil
	default:
		server = held.Server // an operator may have edited it
	}
	made, err := a.operator(ctx, adminName, server)
	if err != nil {
		return err
	}
	if err := made.Save(path); err != nil {
		return fmt.Errorf("identity: %w; the server must be able to write to its data folder (--data-dir)", err)
	}
	a.config.Log.Info("operator credentials written", note.Path, path)
	return nil
}

// operator makes credentials and records their key.
func (a *Authority) operator(ctx context.Context, name, server string) (join.Credentials, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return join.Credentials{}, fmt.Errorf("identity: key of operator %s: %w", name, err)
	}
	cert, err := a.ca.sign(x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: []string{organizationAdmin}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, key.Public(), userLife)
	if err != nil {
		return join.Credentials{}, err
	}
	err = a.swap(ctx, func() (txn store.Txn, err error) {
		o, revision, err := read[user](ctx, a.store, userKey(name))
		if err != nil {
			return txn, err
		}
		o.Schema, o.Name = schema.Identity.Version(), name
		o.add(Key{Hash: keyHash(cert.RawSubjectPublicKeyInfo), CreatedUnix: time.Now().Unix(), EndsUnix: cert.NotAfter.Unix()})
		return txn, put(&txn, userKey(name), revision, o)
	})
	if err != nil {
		return join.Credentials{}, fmt.Errorf("identity: record operator %s: %w", name, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return join.Credentials{}, fmt.Errorf("identity: key of operator %s: %w", name, err)
	}
	return join.Credentials{
		Server: server, User: name, CA: a.ca.pem(), Cert: certPEM(cert),
		Key: note.Secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}, nil
}

// add records a key, drops those whose certificates ended, and the oldest of too
// many.
func (o *user) add(k Key) {
	now := time.Now().Unix()
	o.Keys = append(slices.DeleteFunc(o.Keys, func(k Key) bool { return k.EndsUnix < now }), k)
	o.Keys = o.Keys[max(0, len(o.Keys)-maxUserKeys):]
}
