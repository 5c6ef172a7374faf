package identity

import (
	"context"

	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Renaming is the part of a transaction that gives a node's identity another name,
// for whoever renames more of it at once: after store.ErrConflict it must be asked
// for again. The old name keeps a note of where it went, for the agent that comes
// under it. Errors are gRPC statuses, or the store's.
func (a *Authority) Renaming(ctx context.Context, from, to string) (store.Txn, error) {
	var txn store.Txn
	n, revision, err := read[Node](ctx, a.store, nodeKey(from))
	if err != nil {
		return txn, err
	}
	switch {
	case revision == 0:
		return txn, status.Errorf(codes.NotFound, "there is no node %s; weft get nodes shows who is", from)
	case n.RenamedTo != "":
		return txn, status.Errorf(codes.NotFound, "node %s was renamed to %s already", from, n.RenamedTo)
	case n.RevokedUnix != 0:
		return txn, status.Errorf(codes.FailedPrecondition, "node %s was revoked at %s", from, utc(n.RevokedUnix))
	}
	taken, takenRevision, err := read[Node](ctx, a.store, nodeKey(to))
	if err != nil {
		return txn, err
	}
	if takenRevision != 0 && taken.RevokedUnix == 0 && taken.RenamedTo == "" {
		return txn, status.Errorf(codes.AlreadyExists, "there is a node %s already; choose another name, or delete that one: weft delete node %s", to, to)
	}
	if err := a.forward(ctx, &txn, n, to); err != nil {
		return txn, err
	}
	gone := Node{Schema: schema.Identity.Version(), Name: from, Key: n.Key, RenamedTo: to}
	n.Name, n.Former = to, from
	if err := put(&txn, nodeKey(from), revision, gone); err != nil {
		return txn, err
	}
	return txn, put(&txn, nodeKey(to), takenRevision, n)
}

// forward has the names that a node had before lead to the one that it gets now: in
// between somebody else may have taken one of them.
func (a *Authority) forward(ctx context.Context, txn *store.Txn, n Node, to string) error {
	entries, _, err := a.store.List(ctx, nodeKey(""))
	if err != nil {
		return err
	}
	for _, e := range entries {
		gone, err := decode[Node](e)
		if err != nil || gone.RenamedTo != n.Name || gone.Key.Hash != n.Key.Hash || gone.Name == to {
			continue
		}
		if len(txn.Then) == mostForwarded {
			break
		}
		gone.RenamedTo = to
		if err := put(txn, e.Key, e.Revision, gone); err != nil {
			return err
		}
	}
	return nil
}

// mostForwarded bounds a transaction; etcd takes 128 operations.
const mostForwarded = 64

// movedOn refuses who comes under a name that a node had before.
func (n Node) movedOn() error {
	return status.Errorf(codes.PermissionDenied, "node %s was renamed to %s; on the node: start weft-agent with --node-name %s", n.Name, n.RenamedTo, n.RenamedTo)
}
