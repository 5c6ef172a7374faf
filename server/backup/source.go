package backup

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/server/store"
)

// Keys of the fabric that a backup's header repeats.
const (
	keyEpoch   = store.Fabric + "epoch"
	keyOrdinal = store.Fabric + "epoch-ordinal"
	keyID      = store.Fabric + "id"
	keyName    = store.Fabric + "name"
	caPrefix   = store.Identity + "ca" // and what stands beside it while it is exchanged
)

// Store is a store that can be read whole as of one revision: store/etcd.
type Store interface {
	store.Store
	Snapshot(ctx context.Context, prefix string, skip []string, fn func(entries []store.Entry, revision int64) error) error
}

// Fabric is what tells one fabric, and one epoch of it, from another.
type Fabric struct {
	Name    string
	ID      string // random, since it was founded
	CA      string // SHA-256 of the CA's public key, hex; empty if there is none
	Epoch   string // random, another after each restore
	Ordinal uint64 // of the epoch, from 1 on
}

// ReadFabric reads what a store says of itself. Everything is empty in a store
// that was never used.
func ReadFabric(ctx context.Context, s interface {
	Get(ctx context.Context, key string) (store.Entry, error)
},
) (Fabric, error) {
	values := map[string][]byte{}
	for _, key := range []string{keyEpoch, keyOrdinal, keyID, keyName, caPrefix} {
		e, err := s.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return Fabric{}, fmt.Errorf("backup: read the fabric: %w", err)
		}
		values[key] = e.Value
	}
	return fabricOf(values)
}

func fabricOf(values map[string][]byte) (Fabric, error) {
	f := Fabric{Name: string(values[keyName]), ID: string(values[keyID]), Epoch: string(values[keyEpoch]), Ordinal: 1}
	if v := values[keyOrdinal]; len(v) > 0 {
		n, err := strconv.ParseUint(string(v), 10, 64)
		if err != nil || n == 0 {
			return f, fmt.Errorf("backup: %s is %.40q and no number from 1 on", keyOrdinal, v)
		}
		f.Ordinal = n
	}
	if v := values[caPrefix]; len(v) > 0 {
		hash, err := caHash(v)
		if err != nil {
			return f, fmt.Errorf("backup: %s: %w", caPrefix, err)
		}
		f.CA = hash
	}
	return f, nil
}

// caHash reads the CA's certificate from its record.
func caHash(record []byte) (string, error) {
	var r struct {
		Certificate []byte `json:"certificate"` // X.509, DER
	}
	if err := json.Unmarshal(record, &r); err != nil {
		return "", err
	}
	cert, err := x509.ParseCertificate(r.Certificate)
	if err != nil {
		return "", err
	}
	return join.Hash(cert), nil
}

// SameAs tells whether two are one fabric: its id may be younger than a backup,
// and its CA may have been exchanged since.
func (f Fabric) SameAs(h Header) bool {
	return f.ID != "" && f.ID == h.ID || f.CA != "" && f.CA == h.CA
}
