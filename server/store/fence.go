package store

import (
	"context"
	"errors"
	"fmt"
)

// Keys by which all servers over one store agree that it was restored.
const (
	// Fence is written when the fabric is founded, and again when a restore begins
	// and when it ends. It stands among the intent so that whoever follows that
	// sees, before anything of a restore, that what follows is of no epoch.
	Fence = Intent + "epoch"
	// Restore is there while the store is being restored: nothing is served.
	Restore = Fabric + "restore"
	// Restored says what the last restore was of, and when: {timeUnix, …}. There is
	// none in a store that was never restored.
	Restored = Fabric + "restored"
	// Settling is there from the end of a restore until the leases that are younger
	// than what was restored are learned. Nothing new is leased meanwhile.
	Settling = Fabric + "lease-settling"
	// Lost says of which backup, or of what agents carried, a store that was lost was
	// made again: {ordinal, fileOrdinal, revision, losses}; ordinal is of the epoch that
	// began by it, revision the backup's, losses the ordinals of all such epochs. There
	// is none in a store that was never lost. A backup that is brought back into the
	// store that it was made of does not touch it: who has which prefix is not taken
	// back in time.
	Lost = Fabric + "lost"
	// Leases are the allocator's own records: of transactions, of prefixes that rest.
	Leases = Fabric + "leases/"
	// Words are, by node, from which point of history a lease is known that its node
	// was not told of since the store was lost: {age, revision, told, words}; age is
	// twice the ordinal of an epoch.
	Words = Fabric + "lease-views/"
	// Disputes are, by node, prefixes that it carries and that another has.
	Disputes = Fabric + "lease-disputes/"
	// Epochs are those that were: {id: ordinal}. Who speaks from an earlier one is
	// weighed by it. There is none in a store that was never restored.
	Epochs = Fabric + "epochs"
	// Direction is "down" when new leases are given from the upper end of the
	// ranges, else "up" or not there. Each restore turns it round: what was leased
	// since the backup, and nobody claims, lies at the other end.
	Direction = Fabric + "lease-direction"
)

// ErrFenced is what is answered once the store belongs to another epoch than the
// one that the caller began with: a backup is being restored, or was. Whoever
// gets it throws away all that it knows and begins anew.
var ErrFenced = errors.New("store: the fabric has another epoch: a backup is being restored, or was")

// Fenced is a store whose transactions count only as long as Fence stands at a
// revision: what was decided in one epoch is never written in another, however
// late it comes.
func Fenced(s Store, revision int64) Store { return fenced{s, revision} }

type fenced struct {
	Store
	revision int64
}

// Commit answers ErrFenced when the epoch is over.
func (f fenced) Commit(ctx context.Context, txn Txn) (int64, error) {
	own := txn
	own.If = append(append(make([]Cond, 0, len(txn.If)+1), Cond{Key: Fence, Revision: f.revision}), txn.If...)
	r, err := f.Store.Commit(ctx, own)
	if !errors.Is(err, ErrConflict) {
		return r, err
	}
	e, other := f.Store.Get(ctx, Fence)
	switch {
	case other == nil && e.Revision == f.revision:
		return r, err
	case other != nil && !errors.Is(other, ErrNotFound):
		return r, fmt.Errorf("store: %w, and why is not known: %w", err, other)
	}
	return r, ErrFenced
}
