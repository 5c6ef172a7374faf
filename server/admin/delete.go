package admin

import (
	"context"
	"errors"
	"fmt"

	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Delete implements weftv1.ResourcesServer. All objects are looked up before the
// first is deleted. Deleting a node ends its identity, cuts its stream, takes it
// from its peers and releases its lease.
func (s *resources) Delete(ctx context.Context, r *weftv1.DeleteRequest) (*weftv1.DeleteResponse, error) {
	if n := len(r.GetItems()); n == 0 || n > maxItems {
		return nil, badField("items", "has %d objects; accepted: 1 to %d", n, maxItems)
	}
	v, _, err := s.read(ctx, parts[kind.Node])
	if err != nil {
		return nil, answer(err)
	}
	out := &weftv1.DeleteResponse{Revision: s.Hub.Revision()}
	refs, err := s.deletable(v, r.GetItems())
	if err != nil {
		return nil, answer(err)
	}
	for _, target := range refs {
		before, err := s.item(v, target)
		if err != nil {
			return nil, answer(err)
		}
		out.Results = append(out.Results, &weftv1.Result{Before: before, Verb: "deleted"})
	}
	if r.GetDryRun() {
		return out, nil
	}
	var names []string
	for _, target := range refs {
		names = append(names, target.String())
	}
	if _, err := s.hold(ctx, names); err != nil {
		return nil, answer(err)
	}
	for i, target := range refs {
		rev, err := s.remove(ctx, target)
		if err != nil && i > 0 {
			return nil, status.Errorf(codes.Aborted, "%s: %v; %d objects before it are deleted; to repeat for the rest is safe", target, err, i)
		} else if err != nil {
			return nil, answer(err)
		}
		out.Revision = max(out.Revision, rev)
		s.tell(ctx, target.String(), "Deleted", "at revision %d", rev)
	}
	return out, nil
}

// deletable finds all objects, or says which cannot be deleted and why.
func (s *Server) deletable(v *view, items []*weftv1.GetRequest) ([]ref, error) {
	var out []ref
	var leases []string
	seen := map[ref]bool{}
	for i, item := range items {
		info, err := kind.Find(item.GetKind())
		field := fmt.Sprintf("items[%d]", i)
		if err != nil {
			return nil, kind.FieldError{Object: field, Field: "kind", Problem: err.Error()}
		}
		r := ref{info.Name, "", item.GetName()}
		switch n := v.nodes[r.name]; {
		case !info.Writable:
			return nil, kind.FieldError{Object: field, Field: "kind", Problem: info.Name + " is read-only: nodes report them"}
		case info.Name == kind.ClusterConfig && r.name == kind.DefaultName:
			return nil, kind.InUseError{Object: r.String(), Problem: "a fabric always has it; replace it to change it"}
		case info.Name == kind.EgressPolicy && v.stored(r.kind, r.name).revision > 0:
		case info.Name == kind.Node && n != nil && n.is(), info.Name == kind.Lease && n != nil && n.lease.revision > 0:
		case info.Name == kind.Node && n != nil && n.lease.revision > 0:
			return nil, notFound("there is no %.300s that has joined; it has a reservation: weft delete lease %s", r, r.name)
		default:
			return nil, missing(r)
		}
		if info.Name == kind.Lease {
			leases = append(leases, r.name)
		}
		if !seen[r] {
			seen[r] = true
			out = append(out, r)
		}
	}
	for _, name := range leases {
		if n := v.nodes[name]; n.is() && !seen[ref{kind.Node, "", name}] {
			return nil, kind.InUseError{Object: kind.Lease + "/" + name, Problem: fmt.Sprintf(
				"node %s is in the fabric and uses %v; delete the node: weft delete node %s", name, n.prefixes, name)}
		}
	}
	return out, nil
}

func (s *Server) remove(ctx context.Context, r ref) (int64, error) {
	if r.kind == kind.Node {
		return s.removeNode(ctx, r.name, s.Revocation)
	}
	remove := s.removeLease
	if r.kind == kind.EgressPolicy {
		remove = s.removePolicy
	}
	for try := 1; ; try++ {
		rev, err := remove(ctx, r.name)
		if !errors.Is(err, store.ErrConflict) || try == maxWriteTries {
			return rev, err
		}
	}
}

// removeNode goes from the outside in: once it fails, repeating it goes on, because
// the node counts as there until the last step. No report comes after it: servers
// write one only over the Node object that they know.
// end is how its identity ends.
func (s *Server) removeNode(ctx context.Context, name string, end func(context.Context, string) (store.Txn, error)) (int64, error) {
	const why = "the node was deleted from the fabric; on the node: weft-agent cleanup, then join again with a token"
	if err := s.silence(ctx, name, end); err != nil {
		return 0, fmt.Errorf("admin: revoke node %s: %w", name, err)
	}
	s.Hub.Cut(name, why)
	if err := s.Leases.Release(ctx, name); err != nil {
		return 0, err
	}
	rev, err := s.Store.Commit(ctx, store.Txn{Then: append(saidBy(name), store.Write{Key: kind.Key(kind.Node, "", name)})})
	if err != nil {
		return 0, fmt.Errorf("admin: delete node %s: %w", name, err)
	}
	s.Log.Info("node was deleted", note.Node, name, note.Rev, rev)
	return rev, nil
}

// silence ends a node's identity and takes what it said, at one time.
func (s *Server) silence(ctx context.Context, name string, end func(context.Context, string) (store.Txn, error)) error {
	for try := 1; ; try++ {
		txn, err := end(ctx, name)
		if err != nil {
			return err
		}
		revoked := len(txn.Then) > 0
		txn.Then = append(txn.Then, saidBy(name)...)
		_, err = s.Store.Commit(ctx, txn)
		if err == nil && revoked {
			s.Log.Info("node revoked", note.Node, name)
			s.Journal.Note(journal.Event{Kind: journal.Warning, Object: "Node/" + name, Reason: "NodeRevoked", Message: "its certificates are refused from now on", Actor: s.Actor(ctx)})
		}
		if !errors.Is(err, store.ErrConflict) || try == maxWriteTries {
			return err
		}
	}
}

// saidBy deletes what the store has only because a node said it, or was asked.
func saidBy(node string) []store.Write {
	return []store.Write{
		{Key: kind.Key(kind.Report, "", node)},
		{Key: kind.Key(kind.Pause, "", node)},
		{Key: kind.ObservedNode(node)},
		{Key: kind.ObservedPool(node)},
		{Key: kind.ObservedPath(node)},
		{Key: kind.ObservedEndpoint(node + "/"), Prefix: true},
	}
}

// removeLease takes a reservation back.
func (s *Server) removeLease(ctx context.Context, name string) (int64, error) {
	key := kind.Key(kind.Lease, "", name)
	e, err := s.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil // went with its node
	} else if err != nil {
		return 0, err
	}
	txn, err := s.Leases.Guard(ctx, nil, []string{name})
	if err != nil {
		return 0, err
	}
	txn.If = append(txn.If, store.Cond{Key: key, Revision: e.Revision})
	txn.Then = append(txn.Then, store.Write{Key: key})
	return s.Store.Commit(ctx, txn)
}
