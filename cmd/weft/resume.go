package main

import (
	"maps"
	"slices"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/proto"
)

// Verbs of a watch.
const (
	existing   = "existing"
	synced     = "synced" // ends what exists
	created    = "created"
	configured = "configured"
	deleted    = "deleted"
)

// resumption makes one watch of several streams. Each stream begins with all that
// exists; of a later one only what differs from what was told is told. So nothing
// is missed or told twice, whatever the next server has of the history, and also
// over a restore, which turns revisions back.
type resumption struct {
	fn       func(*weftv1.WatchResponse) error
	progress bool // a node's progress is a change

	told map[string]*weftv1.Resource // as last told; nil before the first synced
	now  []*weftv1.Resource          // what exists, until it is synced
}

// begin forgets what a stream that broke had not told whole.
func (r *resumption) begin() { r.now = nil }

func (r *resumption) take(e *weftv1.WatchResponse) error {
	switch verb := e.GetVerb(); {
	case verb == existing, verb != synced && r.told == nil: // a change before what exists is whole is part of it
		r.now = append(r.now, e.GetItem())
		return nil
	case verb == synced:
		return r.sync(e)
	case verb == deleted:
		delete(r.told, objectName(e.GetItem()))
	default:
		r.told[objectName(e.GetItem())] = e.GetItem()
	}
	return r.fn(e)
}

// sync tells what exists, or of a later stream what changed since the last.
func (r *resumption) sync(e *weftv1.WatchResponse) error {
	before, first := r.told, r.told == nil
	r.told = map[string]*weftv1.Resource{}
	tell := func(verb string, item *weftv1.Resource) error {
		return r.fn(&weftv1.WatchResponse{Verb: verb, Item: item, Revision: e.GetRevision()})
	}
	for _, item := range r.now {
		name := objectName(item)
		old, known := before[name]
		r.told[name] = item
		delete(before, name)
		verb := configured
		switch {
		case first:
			verb = existing
		case !known:
			verb = created
		case r.same(old, item):
			continue
		}
		if err := tell(verb, item); err != nil {
			return err
		}
	}
	r.now = nil
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if err := tell(deleted, before[name]); err != nil {
			return err
		}
	}
	if !first {
		return nil
	}
	return r.fn(e)
}

// same tells whether two states are the same to who watches, as servers do: that a
// node was heard again is no change.
func (r *resumption) same(a, b *weftv1.Resource) bool {
	ignore := []string{"heardUnix"}
	if !r.progress {
		ignore = append(ignore, "appliedRevision", "inStep")
	}
	a, b = proto.CloneOf(a), proto.CloneOf(b)
	for _, field := range ignore {
		delete(a.GetStatus().GetFields(), field)
		delete(b.GetStatus().GetFields(), field)
	}
	return proto.Equal(a, b)
}
