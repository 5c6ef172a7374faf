package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
)

// Bounds on one write.
const (
	maxItems      = 10_000
	maxPerTxn     = 50 // each brings its former value
	maxLeases     = 24 // in one transaction: each brings conditions of its own
	maxTxnBytes   = 1 << 20
	maxWriteTries = 5
)

// Apply implements weftv1.ResourcesServer.
func (s *resources) Apply(ctx context.Context, r *weftv1.ApplyRequest) (*weftv1.ApplyResponse, error) {
	if r.GetConfirmWithinSeconds() > maxConfirm {
		return nil, badField("confirm_within_seconds", "%d is too long; accepted: 1 to %d", r.GetConfirmWithinSeconds(), maxConfirm)
	}
	w := writing{items: r.GetItems(), merge: true, dry: r.GetDryRun(), confirm: r.GetConfirmWithinSeconds()}
	if w.confirm > 0 && !w.dry {
		if err := s.noneWaits(ctx); err != nil {
			return nil, s.asOf(answer(err))
		}
	}
	results, rev, err := s.set(ctx, w)
	if err != nil {
		return nil, s.asOf(answer(err))
	}
	out := &weftv1.ApplyResponse{Results: results, Revision: rev}
	if w.confirm > 0 && !w.dry {
		if p, err := s.waiting(ctx); err == nil && p.revision == rev {
			out.Confirmation = p.wire()
		}
	}
	return out, nil
}

// Replace implements weftv1.ResourcesServer.
func (s *resources) Replace(ctx context.Context, r *weftv1.ReplaceRequest) (*weftv1.ReplaceResponse, error) {
	results, rev, err := s.set(ctx, writing{items: r.GetItems(), dry: r.GetDryRun()})
	if err != nil {
		return nil, s.asOf(answer(err))
	}
	return &weftv1.ReplaceResponse{Results: results, Revision: rev}, nil
}

// writing is what operators give.
type writing struct {
	items   []*weftv1.Resource
	merge   bool   // with what there is
	dry     bool   // write nothing
	confirm uint32 // seconds within which it is confirmed, or rolled back; 0: it stays
}

// edit is one object on its way into the store.
type edit struct {
	key    string
	before stored
	after  kind.Object
}

func (e edit) changed() bool {
	return e.before.revision == 0 || !bytes.Equal(e.before.Spec, e.after.Spec) ||
		!maps.Equal(e.before.Metadata.Labels, e.after.Metadata.Labels)
}

// set writes what operators give. Everything is checked before the first write.
func (s *Server) set(ctx context.Context, w writing) ([]*weftv1.Result, int64, error) {
	for try := 1; ; try++ {
		edits, err := s.edits(ctx, w.items, w.merge)
		if err != nil {
			return nil, 0, err
		}
		if _, err := s.guard(ctx, edits); err != nil {
			return nil, 0, err
		}
		rev, written := s.Hub.Revision(), 0
		if !w.dry {
			rev, written, err = s.commit(ctx, edits, rev, w.confirm)
			s.tellWritten(ctx, edits[:written], rev)
			if err != nil && written > 0 {
				return nil, 0, partly(edits[:written], err)
			}
		}
		if errors.Is(err, store.ErrConflict) && try < maxWriteTries {
			continue
		} else if err != nil {
			return nil, 0, err
		}
		results, err := resultsOf(edits, rev, w.dry)
		return results, rev, err
	}
}

// edits reads what there is and makes of it and of what is given what shall be.
// All that is wrong in any item is in the one error.
func (s *Server) edits(ctx context.Context, items []*weftv1.Resource, merge bool) ([]edit, error) {
	if len(items) == 0 || len(items) > maxItems {
		return nil, kind.FieldError{Field: "items", Problem: fmt.Sprintf("has %d objects; accepted: 1 to %d", len(items), maxItems)}
	}
	v, _, err := s.read(ctx, []string{store.Intent})
	if err != nil {
		return nil, err
	}
	var out []edit
	var bad kind.FieldErrors
	seen := map[string]bool{}
	for i, item := range items {
		e, err := v.edit(item, merge)
		if err == nil && seen[e.key] {
			err = kind.FieldError{Object: ref{e.after.Kind, "", e.after.Metadata.Name}.String(), Problem: "is there twice; give each object once"}
		}
		if errs, ok := kind.Fields(err); ok {
			bad = append(bad, named(errs, i)...)
			continue
		} else if err != nil {
			return nil, err
		}
		seen[e.key] = true
		if e.changed() {
			bad = append(bad, v.fit(e)...)
			bad = append(bad, v.egressFit(e)...)
		}
		if e.before.revision == 0 {
			e.after.Metadata.CreatedUnix = s.Now().Unix()
		}
		if e.after.Metadata.Generation = e.before.Metadata.Generation; e.before.revision > 0 && e.changed() {
			e.after.Metadata.Generation++
		}
		out = append(out, e)
	}
	if len(bad) > 0 {
		return nil, bad
	}
	// Ranges first, then what lies in them.
	slices.SortStableFunc(out, func(a, b edit) int { return rank(a.after.Kind) - rank(b.after.Kind) })
	return out, nil
}

func rank(k string) int {
	return slices.Index([]string{kind.ClusterConfig, kind.Lease, kind.Node, kind.EgressPolicy}, k)
}

// named gives an object without a name of its own its place in the request.
func named(errs kind.FieldErrors, i int) kind.FieldErrors {
	for j := range errs {
		if errs[j].Object == "" {
			errs[j].Object = fmt.Sprintf("items[%d]", i)
		}
	}
	return errs
}

// edit is one object, merged with what there is or whole.
func (v *view) edit(item *weftv1.Resource, merge bool) (edit, error) {
	m := item.GetMetadata()
	g := kind.Given{
		APIVersion: item.GetApiVersion(), Kind: item.GetKind(),
		Name: m.GetName(), Namespace: m.GetNamespace(), Labels: m.GetLabels(),
	}
	if item.GetSpec() != nil {
		raw, err := protojson.Marshal(item.GetSpec())
		if err != nil {
			return edit{}, kind.FieldError{Object: g.Kind + "/" + g.Name, Field: "spec", Problem: err.Error()}
		}
		g.Spec = raw
	}
	info, err := kind.Find(g.Kind)
	if err != nil {
		_, err := g.Build() // says what is wrong in its own words
		return edit{}, err
	}
	e := edit{key: kind.Key(info.Name, "", g.Name), before: v.stored(info.Name, g.Name).asNow()}
	object := ref{info.Name, "", g.Name}.String()
	if m.GetRevision() != 0 && m.GetRevision() != e.before.revision {
		return edit{}, status.Errorf(codes.Aborted, "%s metadata.revision: is at %d now, not %d: somebody changed it; get it again", object, e.before.revision, m.GetRevision())
	}
	if merge {
		if g.Spec, err = kind.Merge(e.before.Spec, g.Spec); err != nil {
			return edit{}, kind.FieldError{Object: object, Field: "spec", Problem: err.Error()}
		}
		g.Labels = mergeLabels(e.before.Metadata.Labels, g.Labels)
	}
	if info.Name == kind.Node {
		if err := v.nodeEdit(&g); err != nil {
			return edit{}, err
		}
	}
	if e.after, err = g.Build(); err != nil {
		return edit{}, err
	}
	e.after.Metadata.CreatedUnix = e.before.Metadata.CreatedUnix
	return e, nil
}

// asNow is an object of an earlier release with the defaults that came since, so
// that they are nobody's change. One that this release would not take stays as it is.
func (o stored) asNow() stored {
	if o.revision == 0 {
		return o
	}
	now, err := kind.Given{APIVersion: kind.APIVersion, Kind: o.Kind, Name: o.Metadata.Name, Labels: o.Metadata.Labels, Spec: o.Spec}.Build()
	if err == nil {
		o.Spec = now.Spec
	}
	return o
}

func mergeLabels(old, given map[string]string) map[string]string {
	out := maps.Clone(old)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, given)
	return out
}

// nodeEdit keeps what a node says of itself out of what operators say of it, and
// refuses nodes that never were.
func (v *view) nodeEdit(g *kind.Given) error {
	n := v.nodes[g.Name]
	if n == nil || !n.is() {
		if intent.ValidName(g.Name) != nil {
			return nil // Build says so
		}
		return kind.FieldError{
			Object: kind.Node + "/" + g.Name, Field: "metadata.name",
			Problem: "no node of this name has joined; a node appears when its agent joins, with the labels of its token or its --node-label",
		}
	}
	g.Labels = maps.Clone(g.Labels)
	maps.DeleteFunc(g.Labels, func(k, value string) bool {
		own, reported := n.report.Labels[k]
		_, said := n.object.Metadata.Labels[k]
		return reported && own == value && !said
	})
	return nil
}

// stored is a writable object as it is.
func (v *view) stored(k, name string) stored {
	if k == kind.ClusterConfig || k == kind.EgressPolicy {
		return v.plain[kind.Key(k, "", name)]
	}
	n := v.nodes[name]
	switch {
	case n == nil:
		return stored{}
	case k == kind.Lease:
		return n.lease
	}
	return n.object
}

// guard asks what leases say to the changes.
func (s *Server) guard(ctx context.Context, edits []edit) (store.Txn, error) {
	var set []kind.Object
	for _, e := range edits {
		if e.changed() {
			set = append(set, e.after)
		}
	}
	txn, err := s.Leases.Guard(ctx, set, nil)
	if err != nil {
		return store.Txn{}, s.withPods(ctx, err)
	}
	return txn, nil
}

// commit writes the edits, transaction by transaction. It answers the revision
// of the last and how many edits are written, also with an error.
func (s *Server) commit(ctx context.Context, edits []edit, rev int64, confirm uint32) (int64, int, error) {
	for done := 0; done < len(edits); {
		n := batch(edits[done:])
		txn, err := s.transaction(ctx, edits[done:done+n])
		if err == nil && confirm > 0 && len(txn.Then) > 0 {
			var waits store.Write
			if _, waits, err = s.confirmation(ctx, edits, confirm); err == nil {
				txn.Then = append(txn.Then, waits)
			}
		}
		if err != nil {
			return rev, done, err
		}
		if len(txn.Then) > 0 {
			if rev, err = s.Store.Commit(ctx, txn); err != nil {
				return rev, done, err
			}
		}
		done += n
	}
	return rev, len(edits), nil
}

// transaction writes some edits, and keeps what they replace.
func (s *Server) transaction(ctx context.Context, edits []edit) (store.Txn, error) {
	txn, err := s.guard(ctx, edits)
	if err != nil {
		return store.Txn{}, err
	}
	var objects []string
	for _, e := range edits {
		if !e.changed() {
			continue
		}
		value, err := kind.Encode(e.after.Kind, e.after.Metadata, e.after.Spec)
		if err != nil {
			return store.Txn{}, err
		}
		kept, ok, err := s.keep(e.before, s.Actor(ctx))
		if err != nil {
			return store.Txn{}, err
		}
		if ok {
			txn.Then = append(txn.Then, kept)
		}
		txn.If = append(txn.If, store.Cond{Key: e.key, Revision: e.before.revision})
		txn.Then = append(txn.Then, store.Write{Key: e.key, Value: value})
		objects = append(objects, e.ref().String())
	}
	if len(objects) == 0 {
		return txn, nil
	}
	held, err := s.hold(ctx, objects)
	txn.If = append(txn.If, held)
	return txn, err
}

// batch is how many edits go into the next transaction, at least one.
func batch(edits []edit) int {
	size, leases := 0, 0
	for i, e := range edits {
		size += len(e.before.Spec) + len(e.after.Spec) + 2048
		if e.after.Kind == kind.Lease {
			leases++
		}
		if i > 0 && (i == maxPerTxn || size > maxTxnBytes || leases > maxLeases) {
			return i
		}
	}
	return len(edits)
}

// partly tells which objects are written when a later transaction failed.
func partly(written []edit, err error) error {
	var names []string
	for _, e := range written {
		if e.changed() {
			names = append(names, ref{e.after.Kind, "", e.after.Metadata.Name}.String())
		}
	}
	const most = 20
	more := ""
	if len(names) > most {
		more = fmt.Sprintf(" and %d more", len(names)-most)
		names = names[:most]
	}
	return status.Errorf(codes.Aborted, "written: %s%s; the rest is not: %v; to repeat is safe", strings.Join(names, ", "), more, err)
}

func resultsOf(edits []edit, rev int64, dry bool) ([]*weftv1.Result, error) {
	var out []*weftv1.Result
	for _, e := range edits {
		r := &weftv1.Result{Verb: "unchanged"}
		revision := e.before.revision
		var err error
		if e.before.revision > 0 {
			r.Verb = "configured"
			if r.Before, err = resource(e.before.Object, e.before.revision, nil); err != nil {
				return nil, err
			}
		} else {
			r.Verb = "created"
		}
		if !e.changed() {
			r.Verb = "unchanged"
		} else if !dry {
			revision = rev
		}
		if r.After, err = resource(e.after, revision, nil); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}
