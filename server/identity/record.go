package identity

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/store"
)

// Keys of records.
func nodeKey(name string) string { return store.Identity + "node/" + name }
func userKey(name string) string { return store.Identity + "operator/" + name } // as the first release named it
func tokenKey(id string) string  { return store.Identity + "token/" + id }

// Key is one public key that may speak for a name.
type Key struct {
	Hash        string `json:"sha256"`   // hex, of the SubjectPublicKeyInfo
	EndsUnix    int64  `json:"endsUnix"` // of the last certificate for it
	CreatedUnix int64  `json:"createdUnix"`
	Root        string `json:"root,omitempty"` // that signed it, by the hash that tokens pin
	Told        string `json:"told,omitempty"` // the newest root that was given along
}

// Node is what is recorded of a node.
type Node struct {
	Schema      int    `json:"schema"`
	Name        string `json:"name"`
	Key         Key    `json:"key"`
	Machine     string `json:"machine,omitempty"` // as it said when it joined
	Token       string `json:"token"`             // id of the token that it joined with
	JoinedUnix  int64  `json:"joinedUnix"`
	RevokedUnix int64  `json:"revokedUnix,omitempty"` // 0: it is not
	Ephemeral   bool   `json:"ephemeral,omitempty"`   // deleted when it goes
	Expired     bool   `json:"expired,omitempty"`     // revoked only because it stayed away
	Former      string `json:"former,omitempty"`      // name, until the agent has come under this one
	RenamedTo   string `json:"renamedTo,omitempty"`   // all else is recorded there
}

// user is what is recorded of a person, or of several that share credentials:
// several keys, because each server writes an admin.yaml of its own.
type user struct {
	Schema      int    `json:"schema"`
	Name        string `json:"name"`
	Role        Role   `json:"role,omitempty"` // empty: admin, from before there were roles
	Keys        []Key  `json:"keys"`
	CreatedUnix int64  `json:"createdUnix,omitempty"`
	RevokedUnix int64  `json:"revokedUnix,omitempty"`
}

func (u user) role() Role { return cmp.Or(u.Role, RoleAdmin) }

// keyHash names a public key.
func keyHash(subjectPublicKeyInfo []byte) string {
	sum := sha256.Sum256(subjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// versioned are the records that carry a schema.
type versioned interface{ version() int }

func (n Node) version() int  { return n.Schema }
func (u user) version() int  { return u.Schema }
func (t token) version() int { return t.Schema }

// read gets a record from the store itself. revision is 0 if there is none.
func read[T versioned](ctx context.Context, s store.Store, key string) (record T, revision int64, err error) {
	entry, err := s.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return record, 0, nil
	}
	if err != nil {
		return record, 0, err
	}
	record, err = decode[T](entry)
	return record, entry.Revision, err
}

func decode[T versioned](entry store.Entry) (T, error) {
	var record T
	if err := json.Unmarshal(entry.Value, &record); err != nil {
		return record, fmt.Errorf("identity: record %s: %w", entry.Key, err)
	}
	return record, readable(entry.Key, record.version())
}

// readable refuses a record of a later release.
func readable(key string, found int) error {
	if err := schema.Identity.Check(key, found); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	return nil
}

// put is the transaction's part that writes a record over the revision it was
// read at.
func put(txn *store.Txn, key string, revision int64, record any) error {
	value, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("identity: record %s: %w", key, err)
	}
	txn.If = append(txn.If, store.Cond{Key: key, Revision: revision})
	txn.Then = append(txn.Then, store.Write{Key: key, Value: value})
	return nil
}
