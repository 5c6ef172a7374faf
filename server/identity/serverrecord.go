package identity

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ServerRecords are below this key. A fabric that begins anew with one server drops
// them: each server records itself again.
const ServerRecords = store.Identity + "server/"

func serverKeyOf(name string) string { return ServerRecords + name }

// server is what is recorded of one of several servers, by itself.
type server struct {
	Schema int    `json:"schema"`
	Name   string `json:"name"`
	Root   string `json:"root"` // that signed the certificate which it shows the others
	// Believes are the roots that its etcd read when it started: it reads them at no
	// other time. None with an etcd elsewhere.
	Believes    []string `json:"believes,omitempty"`
	RevokedUnix int64    `json:"revokedUnix,omitempty"` // it was removed
}

func (s server) version() int { return s.Schema }

// PeerRoots are the roots, by hash, that an etcd which starts now takes from a data
// folder.
func PeerRoots(dataDir string) ([]string, error) {
	b, err := os.ReadFile(PeerPaths(dataDir).CA)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return pemHashes(b), nil
}

// pemHashes are the hashes of the certificates in a file.
func pemHashes(file []byte) []string {
	var out []string
	for block, rest := pem.Decode(file); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = append(out, join.Hash(cert))
		}
	}
	return out
}

// recordServer writes what this server shows the others, and believes, if the store
// has it otherwise. A server that runs is not removed: its start was somebody's will.
func (a *Authority) recordServer(ctx context.Context, name string) error {
	shown, err := os.ReadFile(PeerPaths(a.config.DataDir).Cert)
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	chain := pemHashes(shown)
	if len(chain) < 2 {
		return fmt.Errorf("identity: %s holds no chain of certificates", PeerPaths(a.config.DataDir).Cert)
	}
	want := server{Schema: schema.Identity.Version(), Name: name, Root: chain[1], Believes: a.config.Believes}
	return a.swap(ctx, func() (txn store.Txn, err error) {
		held, revision, err := read[server](ctx, a.store, serverKeyOf(name))
		if err != nil || revision != 0 && held.same(want) {
			return txn, err
		}
		return txn, put(&txn, serverKeyOf(name), revision, want)
	})
}

func (s server) same(o server) bool {
	return s.Root == o.Root && s.RevokedUnix == o.RevokedUnix && slices.Equal(s.Believes, o.Believes)
}

// outdated says that a server's etcd believes a root that counts no more, or was
// started before the one that signs: only a restart changes that.
func (s server) outdated(r *roots) bool {
	if len(s.Believes) == 0 || s.RevokedUnix != 0 {
		return false
	}
	trusted := r.hashes()
	return !slices.Contains(s.Believes, r.issuing.hash) || slices.ContainsFunc(s.Believes, func(h string) bool { return !slices.Contains(trusted, h) })
}

// ServerRemoval is the part of a transaction that ends a server's certificates,
// for whoever takes it out: what it shows is refused from then on, until it joins
// again with the server token.
func (a *Authority) ServerRemoval(ctx context.Context, name string) (store.Txn, error) {
	var txn store.Txn
	s, revision, err := read[server](ctx, a.store, serverKeyOf(name))
	if err != nil {
		return txn, err
	}
	s.Schema, s.Name, s.RevokedUnix = schema.Identity.Version(), name, time.Now().Unix()
	return txn, put(&txn, serverKeyOf(name), revision, s)
}

// readmitServer lets a server that was removed come back: it holds the server token.
func (a *Authority) readmitServer(ctx context.Context, name string) error {
	return a.swap(ctx, func() (txn store.Txn, err error) {
		s, revision, err := read[server](ctx, a.store, serverKeyOf(name))
		if err != nil || revision == 0 || s.RevokedUnix == 0 {
			return txn, err
		}
		return store.Txn{If: []store.Cond{{Key: serverKeyOf(name), Revision: revision}}, Then: []store.Write{{Key: serverKeyOf(name)}}}, nil
	})
}

// serverRecorded refuses a server that was removed. One that is not recorded is of
// a release that records none.
func (a *Authority) serverRecorded(name string) error {
	entry, ok := a.book.Get(serverKeyOf(name))
	if !ok {
		return nil
	}
	if s, err := decode[server](entry); err == nil && s.RevokedUnix != 0 {
		return removedAt(s)
	}
	return nil
}

func removedAt(s server) error {
	return fmt.Errorf("it was removed at %s (weft server remove); to let it join again, move its <data-dir>/etcd away and start it with --server and the server token", utc(s.RevokedUnix))
}

// Caller is a server that shows the server token.
type Caller struct {
	Name string
	// Known says that it is a server already, and asks only for the CA as it is now:
	// it slept through a rotation, perhaps.
	Known bool
}

// admitServer says whether it may have what it asks for. Errors are gRPC statuses.
func (a *Authority) admitServer(ctx context.Context, c Caller) error {
	if !c.Known {
		if err := a.readmitServer(ctx, c.Name); err != nil {
			return a.unlessStatus(err)
		}
		return nil
	}
	s, _, err := read[server](ctx, a.store, serverKeyOf(c.Name))
	if err != nil {
		return a.unlessStatus(err)
	}
	if s.RevokedUnix != 0 {
		return status.Errorf(codes.PermissionDenied, "server %s: %v", c.Name, removedAt(s))
	}
	return nil
}

// Succeed takes over the CA as another server has it, if it is a later state of
// ours: its record must name the root that we know. It answers whether it was.
func Succeed(dataDir string, authority []byte, name string, names []string) (bool, error) {
	held, err := os.ReadFile(peerAuthorityPath(dataDir))
	if err != nil {
		return false, fmt.Errorf("identity: %w", err)
	}
	if string(held) == string(authority) {
		return false, nil
	}
	key := pathOfServerKey(dataDir)
	ours, err := openRoots(store.Entry{Key: peerAuthority, Value: held}, store.Entry{}, key)
	theirs, err2 := openRoots(store.Entry{Key: peerAuthority, Value: authority}, store.Entry{}, key)
	if err := errors.Join(err, err2); err != nil {
		return false, err
	}
	if !theirs.knows(ours.issuing.hash) || theirs.since.Before(ours.since) {
		return false, nil
	}
	return true, renewPeer(dataDir, authority, name, names)
}

// SucceedFrom is Succeed with the CA of a store.
func SucceedFrom(ctx context.Context, s store.Store, dataDir, name string, names []string) (bool, error) {
	entry, err := s.Get(ctx, caKey)
	if err != nil {
		return false, fmt.Errorf("identity: read the CA: %w", err)
	}
	return Succeed(dataDir, entry.Value, name, names)
}
