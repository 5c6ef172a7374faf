package store

import (
	"context"
	"errors"
	"io/fs"
)

// Root is the prefix of every key of weft.
const Root = "/weft/v1/"

// The parts of the key space. Only Intent wakes compile and moves the revision
// that agents see.
const (
	Intent   = Root + "intent/"   // what should be: <Kind>/<namespace>/<name>, and report//<node>
	Observed = Root + "status/"   // what is: liveness, applied revisions, endpoints
	Identity = Root + "identity/" // CA, tokens, recorded keys
	Fabric   = Root + "fabric/"   // epoch, name, schema version
	Journal  = Root + "journal/"  // what happened, who wrote what, former versions
	Servers  = Root + "servers/"  // registrations of servers, and what was known of them
	Election = Root + "election/" // candidates, by election
)

// Seed holds the ClusterConfig that flags made, or agreed with at the first start
// of a release that keeps it: a spec in JSON. It never changes.
const Seed = Fabric + "seed"

// ErrNotFound is what Get answers for a key that is not there.
var ErrNotFound = fs.ErrNotExist

// ErrConflict is what Commit answers when a condition does not hold. Nothing was
// written: read again, decide again.
var ErrConflict = errors.New("store: a key changed meanwhile")

// ErrCompacted is what Watch answers when history from the revision asked for is
// gone: list again.
var ErrCompacted = errors.New("store: history is compacted")

// ErrHeld is what a holder of a key answers when somebody else holds it: try
// again.
var ErrHeld = errors.New("store: somebody else holds the key")

// Entry is one key with its value.
type Entry struct {
	Key      string
	Value    []byte // read-only: it may be shared
	Revision int64  // of the last write
	Created  int64  // revision of the creation
}

// Cond is a condition on one key: it was last written at Revision; 0 means that
// it does not exist.
type Cond struct {
	Key      string
	Revision int64
}

// Write sets or deletes one key. A nil Value deletes; a Prefix deletes all keys
// below Key.
type Write struct {
	Key    string
	Value  []byte
	Prefix bool
}

// Txn is all or nothing: at most 128 conditions and 128 writes.
type Txn struct {
	If   []Cond
	Then []Write
}

// Event is one change. A deletion has a nil Value.
type Event struct {
	Entry
}

// Batch holds the events of one or several revisions, in order, and the revision
// up to which the watcher has now seen everything. Events may be empty: progress.
type Batch struct {
	Events   []Event
	Revision int64
}

// Store is the whole contract.
type Store interface {
	// Get answers ErrNotFound for a key that is not there.
	Get(ctx context.Context, key string) (Entry, error)
	// List answers all entries below a prefix, sorted by key, as of one revision.
	List(ctx context.Context, prefix string) ([]Entry, int64, error)
	// Commit answers the revision of the write, or ErrConflict.
	Commit(ctx context.Context, txn Txn) (int64, error)
	// Watch calls fn with everything below a prefix that changed after a
	// revision, until ctx ends or fn fails, and returns that error. fn must not
	// keep or change what it is given. ErrCompacted: list again.
	Watch(ctx context.Context, prefix string, after int64, fn func(Batch) error) error
}
