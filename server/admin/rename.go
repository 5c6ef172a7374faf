package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Rename implements weftv1.NodesServer. Identity, object, lease and report change
// their name in one transaction, so that peers see one node go and another come
// with all that it had, at one revision, and their kernels change nothing.
// EgressPolicies that name it name it by its new name.
func (s *nodes) Rename(ctx context.Context, r *weftv1.NodesRenameRequest) (*weftv1.NodesRenameResponse, error) {
	if err := intent.ValidName(r.GetNode()); err != nil {
		return nil, badField("node", "%v", err)
	}
	if err := intent.ValidName(r.GetName()); err != nil {
		return nil, badField("name", "%v", err)
	}
	if r.GetNode() == r.GetName() {
		return nil, badField("name", "is the name that the node has already")
	}
	for try := 1; ; try++ {
		rev, err := s.rename(ctx, r.GetNode(), r.GetName())
		if errors.Is(err, store.ErrConflict) && try < maxWriteTries {
			continue
		}
		if err != nil {
			return nil, answer(err)
		}
		s.Hub.Cut(r.GetNode(), "node "+r.GetNode()+" was renamed to "+r.GetName()+"; on the node: start weft-agent with --node-name "+r.GetName())
		s.Log.Info("node was renamed", note.Node, r.GetName(), note.Was, r.GetNode(), note.Rev, rev)
		s.tell(ctx, "Node/"+r.GetName(), "NodeRenamed", "it was %s", r.GetNode())
		return &weftv1.NodesRenameResponse{Revision: rev}, nil
	}
}

// rename is one try.
func (s *Server) rename(ctx context.Context, from, to string) (int64, error) {
	var txn store.Txn
	for _, part := range s.Renaming {
		t, err := part(ctx, from, to)
		if err != nil {
			return 0, err
		}
		txn.If, txn.Then = append(txn.If, t.If...), append(txn.Then, t.Then...)
	}
	for _, k := range []string{kind.Node, kind.Report, kind.Pause} {
		if err := s.renameObject(ctx, &txn, k, from, to); err != nil {
			return 0, err
		}
	}
	if err := s.renameInPolicies(ctx, &txn, from, to); err != nil {
		return 0, err
	}
	// The agent tells these anew when it comes.
	txn.Then = append(txn.Then,
		store.Write{Key: kind.ObservedNode(from)}, store.Write{Key: kind.ObservedPool(from)}, store.Write{Key: kind.ObservedPath(from)},
		store.Write{Key: kind.ObservedEndpoint(from + "/"), Prefix: true})
	rev, err := s.Store.Commit(ctx, txn)
	if err != nil {
		return 0, fmt.Errorf("admin: rename node %s to %s: %w", from, to, err)
	}
	return rev, nil
}

// renameObject moves one object of the node. One that is not there is left out.
func (s *Server) renameObject(ctx context.Context, txn *store.Txn, k, from, to string) error {
	oldKey, newKey := kind.Key(k, "", from), kind.Key(k, "", to)
	e, err := s.Store.Get(ctx, oldKey)
	if errors.Is(err, store.ErrNotFound) {
		txn.If = append(txn.If, store.Cond{Key: oldKey})
		return nil
	}
	if err != nil {
		return fmt.Errorf("admin: %s of node %s: %w", k, from, err)
	}
	o, err := kind.Decode(e.Value, new(json.RawMessage))
	if err != nil {
		return fmt.Errorf("admin: %s of node %s: %w", k, from, err)
	}
	o.Metadata.Name = to
	value, err := kind.Encode(k, o.Metadata, o.Spec)
	if err != nil {
		return fmt.Errorf("admin: %s of node %s: %w", k, from, err)
	}
	txn.If = append(txn.If, store.Cond{Key: oldKey, Revision: e.Revision}, store.Cond{Key: newKey})
	txn.Then = append(txn.Then, store.Write{Key: oldKey}, store.Write{Key: newKey, Value: value})
	return nil
}
