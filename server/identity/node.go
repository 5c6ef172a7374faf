package identity

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/server/store"
)

// Nodes lists what is recorded of nodes, by name, the revoked among them, as Run
// last read it.
func (a *Authority) Nodes() []Node {
	entries, _ := a.book.Snapshot()
	var list []Node
	for _, e := range entries {
		if !strings.HasPrefix(e.Key, nodeKey("")) {
			continue
		}
		if n, err := decode[Node](e); err == nil && n.RenamedTo == "" {
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Node is what is recorded of one node, as Run last read it.
func (a *Authority) Node(name string) (Node, bool) {
	entry, ok := a.book.Get(nodeKey(name))
	if !ok {
		return Node{}, false
	}
	n, err := decode[Node](entry)
	return n, err == nil
}

// Awaited says that a node was renamed, and its agent has not come under this name
// yet.
func (a *Authority) Awaited(node string) bool {
	n, ok := a.Node(node)
	return ok && n.Former != "" && n.RevokedUnix == 0
}

// Revocation is the part of a transaction that revokes a node, for whoever
// deletes more of it at once: after store.ErrConflict it must be asked for again.
// It is empty for a node that is not recorded or is revoked already. Every server
// refuses the node's calls then, and cuts its streams. The name may be given to
// another key by any token; the revoked key comes back only with one made with
// replace.
func (a *Authority) Revocation(ctx context.Context, node string) (store.Txn, error) {
	return a.ending(ctx, node, false)
}

// Expiry is the Revocation of an ephemeral node that stayed away. Its key is not
// held against it: it joins again with any token.
func (a *Authority) Expiry(ctx context.Context, node string) (store.Txn, error) {
	return a.ending(ctx, node, true)
}

func (a *Authority) ending(ctx context.Context, node string, expired bool) (store.Txn, error) {
	var txn store.Txn
	n, revision, err := read[Node](ctx, a.store, nodeKey(node))
	if err != nil || revision == 0 || n.RevokedUnix != 0 || n.RenamedTo != "" {
		return txn, err
	}
	n.RevokedUnix, n.Expired = time.Now().Unix(), expired
	return txn, put(&txn, nodeKey(node), revision, n)
}

// Ephemeral lists the nodes that are deleted when they go, by name, also those whose
// deletion did not come to its end.
func (a *Authority) Ephemeral() []string {
	var out []string
	for _, n := range a.Nodes() {
		if n.Ephemeral && (n.RevokedUnix == 0 || n.Expired) {
			out = append(out, n.Name)
		}
	}
	return out
}
