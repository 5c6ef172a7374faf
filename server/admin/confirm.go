package admin

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// confirmKey holds the apply that waits for a confirmation. There is one at most:
// of two that overlap nobody could say what to roll back to.
const confirmKey = store.Journal + "confirm"

// maxConfirm is how long one may wait, in seconds.
const maxConfirm = 86400

// pending is an apply that is rolled back at its deadline, JSON at confirmKey,
// written by the transaction that it is about.
type pending struct {
	Schema       int       `json:"schema"`
	ID           string    `json:"id"`
	DeadlineUnix int64     `json:"deadlineUnix"`
	By           string    `json:"by,omitempty"`
	Items        []undoing `json:"items"`
	Stuck        string    `json:"stuck,omitempty"` // why it could not be rolled back

	revision int64 // of the record: the objects' too, until somebody writes them
}

// undoing is what one object was.
type undoing struct {
	Kind   string          `json:"kind"`
	Name   string          `json:"name"`
	Before json.RawMessage `json:"before,omitempty"` // none: it was made
}

func (p pending) objects() []string {
	var out []string
	for _, i := range p.Items {
		out = append(out, i.Kind+"/"+i.Name)
	}
	return out
}

func (p pending) wire() *weftv1.Confirmation {
	return &weftv1.Confirmation{Id: p.ID, DeadlineUnix: p.DeadlineUnix, By: p.By, Objects: p.objects(), Stuck: p.Stuck}
}

func (p pending) by() string { return cmp.Or(p.By, "somebody") }

// waits describes it in a sentence.
func (p pending) waits() string {
	return fmt.Sprintf("apply %s by %s waits for its confirmation until %s", p.ID, p.by(), time.Unix(p.DeadlineUnix, 0).UTC().Format(time.RFC3339))
}

// waiting reads what waits for a confirmation; an empty ID: nothing does.
func (s *Server) waiting(ctx context.Context) (pending, error) {
	e, err := s.Store.Get(ctx, confirmKey)
	if errors.Is(err, store.ErrNotFound) {
		return pending{}, nil
	} else if err != nil {
		return pending{}, err
	}
	var p pending
	if err := json.Unmarshal(e.Value, &p); err != nil {
		return pending{}, fmt.Errorf("admin: %s: %w", confirmKey, err)
	}
	p.revision = e.Revision
	return p, nil
}

// hold is what goes into a transaction so that it touches nothing that waits for
// a confirmation.
func (s *Server) hold(ctx context.Context, objects []string) (store.Cond, error) {
	p, err := s.waiting(ctx)
	if err != nil {
		return store.Cond{}, err
	}
	for _, o := range objects {
		if slices.Contains(p.objects(), o) {
			return store.Cond{}, status.Errorf(codes.FailedPrecondition, "%s: %s; confirm it first (weft confirm %s), or wait", o, p.waits(), p.ID)
		}
	}
	return store.Cond{Key: confirmKey, Revision: p.revision}, nil
}

// noneWaits refuses a second apply that would wait for its confirmation, also one
// that changes nothing: its time would not count.
func (s *Server) noneWaits(ctx context.Context) error {
	p, err := s.waiting(ctx)
	if err != nil || p.ID == "" {
		return err
	}
	return status.Errorf(codes.FailedPrecondition, "%s, of %s; one waits at a time: weft confirm %s, or let it be rolled back", p.waits(), strings.Join(p.objects(), ", "), p.ID)
}

// confirmation is the write that makes an apply wait for one.
func (s *Server) confirmation(ctx context.Context, edits []edit, within uint32) (pending, store.Write, error) {
	if err := s.noneWaits(ctx); err != nil {
		return pending{}, store.Write{}, err
	}
	if batch(edits) < len(edits) {
		return pending{}, store.Write{}, kind.FieldError{Field: "confirm_within_seconds", Problem: fmt.Sprintf(
			"%d objects do not fit one transaction; only what does can be rolled back as a whole: apply fewer", len(edits))}
	}
	id := make([]byte, 4)
	_, _ = rand.Read(id) // never fails
	p := pending{Schema: schema.Journal.Version(), ID: hex.EncodeToString(id), DeadlineUnix: s.Now().Unix() + int64(within), By: s.Actor(ctx)}
	for _, e := range edits {
		if !e.changed() {
			continue
		}
		u := undoing{Kind: e.after.Kind, Name: e.after.Metadata.Name}
		if e.before.revision > 0 {
			raw, err := kind.Encode(e.before.Kind, e.before.Metadata, e.before.Spec)
			if err != nil {
				return pending{}, store.Write{}, err
			}
			u.Before = raw
		}
		p.Items = append(p.Items, u)
	}
	value, err := json.Marshal(p)
	return p, store.Write{Key: confirmKey, Value: value}, err
}

// Confirm implements weftv1.ResourcesServer.
func (s *resources) Confirm(ctx context.Context, r *weftv1.ConfirmRequest) (*weftv1.ConfirmResponse, error) {
	p, err := s.waiting(ctx)
	switch {
	case err != nil:
		return nil, answer(err)
	case p.ID == "":
		return nil, notFound("nothing waits for a confirmation: it was confirmed, or rolled back (weft events)")
	case r.GetId() != "" && r.GetId() != p.ID:
		return nil, notFound("%.60q does not wait for a confirmation; %s", r.GetId(), p.waits())
	}
	if _, err := s.Store.Commit(ctx, store.Txn{If: []store.Cond{{Key: confirmKey, Revision: p.revision}}, Then: []store.Write{{Key: confirmKey}}}); err != nil {
		return nil, answer(err)
	}
	s.tell(ctx, "Fabric", "Confirmed", "apply %s of %s is kept", p.ID, strings.Join(p.objects(), ", "))
	return &weftv1.ConfirmResponse{Confirmed: p.wire()}, nil
}

// Expire rolls back, at its deadline, what was not confirmed, until ctx ends or
// the store fails; call it again then. Several servers may: one of them does it.
func (s *Server) Expire(ctx context.Context) error {
	return s.onTime(ctx, confirmKey, func(ctx context.Context) (time.Time, error) {
		p, err := s.waiting(ctx)
		if err != nil || p.ID == "" || p.Stuck != "" {
			return time.Time{}, err
		}
		deadline := time.Unix(p.DeadlineUnix, 0)
		if deadline.After(s.Now()) {
			return deadline, nil
		}
		if err := s.undo(ctx, p); err != nil && !errors.Is(err, store.ErrConflict) {
			return time.Time{}, err
		}
		return s.Now().Add(time.Second), nil // another may have been quicker: look again
	})
}

// onTime calls due at first, whenever something below a prefix changed, and at the
// time that it answered last; the zero time is none.
func (s *Server) onTime(ctx context.Context, prefix string, due func(context.Context) (time.Time, error)) error {
	kicks := make(chan struct{}, 1)
	kick := func() {
		select {
		case kicks <- struct{}{}:
		default:
		}
	}
	_, after, err := s.Store.List(ctx, prefix)
	if err != nil {
		return err
	}
	kick()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := s.Store.Watch(ctx, prefix, after, func(store.Batch) error { kick(); return nil })
		if errors.Is(err, store.ErrCompacted) {
			err = fmt.Errorf("admin: %w", err)
		}
		return err
	})
	g.Go(func() error { return s.each(ctx, kicks, due) })
	return g.Wait()
}

func (s *Server) each(ctx context.Context, kicks <-chan struct{}, due func(context.Context) (time.Time, error)) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-kicks:
		case <-timer.C:
		}
		at, err := due(ctx)
		if err != nil {
			return err
		}
		timer.Stop()
		if !at.IsZero() {
			timer.Reset(max(at.Sub(s.Now()), 0))
		}
	}
}

// undo rolls one apply back. What somebody else wrote since stays as it is.
func (s *Server) undo(ctx context.Context, p pending) error {
	txn, edits, err := s.undoing(ctx, p)
	if err == nil {
		_, err = s.Store.Commit(ctx, txn)
	}
	var used kind.InUseError
	switch {
	case err == nil:
		s.Log.Warn("apply rolled back", note.Objects, len(edits), note.Why, "it was not confirmed in time")
		s.Journal.Note(journal.Event{
			Kind: journal.Warning, Object: "Fabric", Reason: "RolledBack", Actor: p.By,
			Message: fmt.Sprintf("apply %s of %s was not confirmed in time", p.ID, strings.Join(p.objects(), ", ")),
		})
		return nil
	case errors.Is(err, store.ErrConflict):
		return err
	case errors.As(err, &used) || len(leftOut(err)) > 0 || isFields(err) || errors.Is(err, store.ErrRefused):
		return s.stuck(ctx, p, err)
	}
	return err
}

func isFields(err error) bool { _, ok := kind.Fields(err); return ok }

// stuck keeps an apply that cannot be rolled back any more, with the reason.
func (s *Server) stuck(ctx context.Context, p pending, why error) error {
	p.Stuck = why.Error()
	value, err := json.Marshal(p)
	if err != nil {
		return err
	}
	_, err = s.Store.Commit(ctx, store.Txn{If: []store.Cond{{Key: confirmKey, Revision: p.revision}}, Then: []store.Write{{Key: confirmKey, Value: value}}})
	if err == nil {
		s.Journal.Note(journal.Event{
			Kind: journal.Warning, Object: "Fabric", Reason: "RollbackRefused", Actor: p.By,
			Message: fmt.Sprintf("apply %s was not confirmed and cannot be rolled back: %s", p.ID, p.Stuck),
		})
	}
	return err
}

// undoing is the transaction that rolls an apply back.
func (s *Server) undoing(ctx context.Context, p pending) (store.Txn, []edit, error) {
	v, _, err := s.read(ctx, []string{store.Intent})
	if err != nil {
		return store.Txn{}, nil, err
	}
	edits := p.undone(v)
	var set []kind.Object
	var gone []string
	for _, e := range edits {
		switch {
		case e.after.Kind != "":
			set = append(set, e.after)
		case e.before.Kind == kind.Lease:
			gone = append(gone, e.before.Metadata.Name)
		}
	}
	txn, err := s.Leases.Guard(ctx, set, gone)
	if err != nil {
		return store.Txn{}, nil, err
	}
	for _, e := range edits {
		var value []byte // none: it goes
		if e.after.Kind != "" {
			if value, err = kind.Encode(e.after.Kind, e.after.Metadata, e.after.Spec); err != nil {
				return store.Txn{}, nil, err
			}
		}
		kept, _, err := s.keep(e.before, "rollback of "+p.by())
		if err != nil {
			return store.Txn{}, nil, err
		}
		txn.If = append(txn.If, store.Cond{Key: e.key, Revision: e.before.revision})
		txn.Then = append(txn.Then, store.Write{Key: e.key, Value: value}, kept)
	}
	txn.If = append(txn.If, store.Cond{Key: confirmKey, Revision: p.revision})
	txn.Then = append(txn.Then, store.Write{Key: confirmKey})
	return txn, edits, nil
}

// undone are the edits that bring objects back to what they were: pure. One without
// a kind afterwards goes. What somebody wrote since is left out.
func (p pending) undone(v *view) (edits []edit) {
	for _, u := range p.Items {
		e := edit{key: kind.Key(u.Kind, "", u.Name), before: v.stored(u.Kind, u.Name)}
		if e.before.revision != p.revision {
			continue
		}
		if u.Before != nil {
			e.after = decode(store.Entry{Value: u.Before, Revision: 1}).Object
			e.after.Metadata.Generation = e.before.Metadata.Generation + 1
		}
		edits = append(edits, e)
	}
	return edits
}

// confirmProblems is what waits, as a person should know it.
func confirmProblems(p pending) []*weftv1.Problem {
	switch {
	case p.ID == "":
		return nil
	case p.Stuck != "":
		return []*weftv1.Problem{{
			Subject: strings.Join(p.objects(), ", "), SinceUnix: p.DeadlineUnix,
			Cause: "apply " + p.ID + " was not confirmed and cannot be rolled back: " + p.Stuck, Remedy: "mend what is in the way and apply again, then: weft confirm " + p.ID,
		}}
	}
	return []*weftv1.Problem{{Subject: strings.Join(p.objects(), ", "), Cause: p.waits() + " and is rolled back then", Remedy: "weft confirm " + p.ID}}
}
