package steward

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/lease"
	"github.com/weft-net/weft/server/store"
)

// Leases changes leases: lease.Allocator.
type Leases interface {
	Complete(ctx context.Context, after string) (done []lease.Given, next string, err error)
	Grow(ctx context.Context, node string, is4 bool) (netip.Prefix, error)
	Drain(ctx context.Context, node string, p netip.Prefix) error
	Yield(ctx context.Context, node string, p netip.Prefix, known int64) error
}

// Mirror is the store's intent: store.Cache.
type Mirror interface {
	Subscribe(fn func(store.Batch)) (entries []store.Entry, revision int64, cancel func())
	Get(key string) (store.Entry, bool)
}

// Store is where the use of prefixes is found.
type Store interface {
	List(ctx context.Context, prefix string) ([]store.Entry, int64, error)
}

// Config is what a Steward works with. Times of 0 are those of the contract.
type Config struct {
	Epoch  string
	Leases Leases
	Mirror Mirror
	Store  Store
	Log    *slog.Logger
	// Note is told of each lease that changed, and of each that could not; may be nil.
	Note func(node, reason, message string, bad bool)

	Every time.Duration // 1 s between looks
	Rest  time.Duration // 10 min: how long a further prefix must be empty
}

// most bounds the steps of one look, so that one look ends before the next.
const most = 64

// retry is how long what failed is left alone.
const retry = 15 * time.Second

// Steward does what Plan says.
type Steward struct {
	Config
	watched map[string]bool // nodes with a lease that drains, or of a family that is gone
	empty   map[string]map[netip.Prefix]time.Time
	later   map[string]time.Time // nodes whose last step failed, until when
	failed  map[string]string    // why the family of a node could not be completed
	again   time.Time            // when families are looked at anew although nothing changed
}

// New returns a Steward.
func New(c Config) *Steward {
	c.Every, c.Rest = cmp.Or(c.Every, time.Second), cmp.Or(c.Rest, ipam.RestPrefix)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Note == nil {
		c.Note = func(string, string, string, bool) {}
	}
	return &Steward{Config: c, empty: map[string]map[netip.Prefix]time.Time{}, later: map[string]time.Time{}, failed: map[string]string{}}
}

// Run looks until ctx ends.
func (s *Steward) Run(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	_, _, cancel := s.Mirror.Subscribe(func(b store.Batch) {
		if slices.ContainsFunc(b.Events, matters) {
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	})
	defer cancel()
	ticker := time.NewTicker(s.Every)
	defer ticker.Stop()
	for news := true; ; {
		if err := s.look(ctx, news, time.Now()); err != nil && ctx.Err() == nil {
			s.Log.Warn("leases not looked after", note.Err, err, note.Retry, s.Every)
		} else {
			news = false
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		select {
		case <-changed:
			news = true
		default:
		}
	}
}

// matters tells whether an event may be about a family, or about what drains. A
// node is served when its report comes after its lease.
func matters(e store.Event) bool {
	k, _, _, ok := kind.ParseKey(e.Key)
	return ok && (k == kind.ClusterConfig || k == kind.Lease || k == kind.Report)
}

// look does all that is due.
func (s *Steward) look(ctx context.Context, news bool, now time.Time) error {
	spec, at, ok, err := s.config()
	if err != nil || !ok {
		return err
	}
	if news || !s.again.IsZero() && now.After(s.again) {
		s.again = time.Time{}
		if err := s.complete(ctx, now); err != nil {
			return err
		}
		s.watch(spec)
	}
	uses, err := s.uses(ctx)
	if err != nil {
		return err
	}
	steps := 0
	for _, node := range s.due(uses) {
		if now.Before(s.later[node]) {
			continue
		}
		l, ok := s.lease(node, uses[node], now)
		if !ok {
			continue
		}
		l.Revision = max(l.Revision, at)
		for _, step := range Plan(spec, l, now, s.Rest) {
			if steps++; steps > most {
				return nil
			}
			s.do(ctx, node, l, step, now)
		}
	}
	return nil
}

// config is the ClusterConfig with the revision of its last write.
func (s *Steward) config() (spec kind.ClusterConfigSpec, at int64, ok bool, err error) {
	e, ok := s.Mirror.Get(kind.Key(kind.ClusterConfig, "", kind.DefaultName))
	if !ok {
		return spec, 0, false, nil
	}
	if _, err := kind.Decode(e.Value, &spec); err != nil {
		return spec, 0, false, fmt.Errorf("steward: %w", err)
	}
	return spec.WithDefaults(), e.Revision, true, nil
}

// complete gives all nodes the families that they lack. Those that cannot have one
// are tried again after a while.
func (s *Steward) complete(ctx context.Context, now time.Time) error {
	failed := map[string]string{}
	for after := ""; ; {
		done, next, err := s.Leases.Complete(ctx, after)
		if err != nil {
			return err
		}
		for _, g := range done {
			if g.Err == nil {
				s.Log.Info("lease was extended", note.Node, g.Node, note.Lease, g.Prefixes)
				s.Note(g.Node, "LeaseExtended", fmt.Sprintf("has %v now", g.Prefixes), false)
				continue
			}
			if failed[g.Node] = g.Err.Error(); s.failed[g.Node] != failed[g.Node] {
				s.Log.Warn("lease was not extended", note.Node, g.Node, note.Err, g.Err, note.Retry, retry)
				s.Note(g.Node, "LeaseNotExtended", g.Err.Error(), true)
			}
		}
		if after = next; after == "" {
			break
		}
	}
	if s.failed = failed; len(failed) > 0 {
		s.again = now.Add(retry)
	}
	return nil
}

// watch finds the leases that need steps although their nodes say nothing.
func (s *Steward) watch(spec kind.ClusterConfigSpec) {
	s.watched = map[string]bool{}
	entries, _, cancel := s.Mirror.Subscribe(func(store.Batch) {})
	cancel()
	for _, e := range entries {
		k, _, node, ok := kind.ParseKey(e.Key)
		if !ok || k != kind.Lease {
			continue
		}
		var l kind.LeaseSpec
		if _, err := kind.Decode(e.Value, &l); err != nil {
			continue // compile tells of it
		}
		gone := func(p netip.Prefix) bool {
			return !slices.ContainsFunc(spec.ClusterCIDRs, func(r netip.Prefix) bool { return r.Addr().Is4() == p.Addr().Is4() })
		}
		if len(l.Draining) > 0 || slices.ContainsFunc(l.Prefixes, gone) {
			s.watched[node] = true
		}
	}
}

// uses reads what nodes say of their prefixes.
func (s *Steward) uses(ctx context.Context) (map[string]kind.PoolsObservation, error) {
	entries, _, err := s.Store.List(ctx, kind.ObservedPools)
	if err != nil {
		return nil, fmt.Errorf("steward: %w", err)
	}
	out := make(map[string]kind.PoolsObservation, len(entries))
	for _, e := range entries {
		o, err := kind.DecodeObservation[kind.PoolsObservation](e)
		if err == nil && o.Epoch == s.Epoch {
			out[strings.TrimPrefix(e.Key, kind.ObservedPools)] = o
		}
	}
	maps.DeleteFunc(s.empty, func(node string, _ map[netip.Prefix]time.Time) bool { _, there := out[node]; return !there })
	return out, nil
}

// due lists the nodes to look at, by name.
func (s *Steward) due(uses map[string]kind.PoolsObservation) []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(uses)), maps.Keys(s.watched))
	slices.Sort(names)
	return slices.Compact(names)
}

// lease puts together what is known of a node's lease.
func (s *Steward) lease(node string, use kind.PoolsObservation, now time.Time) (Lease, bool) {
	e, ok := s.Mirror.Get(kind.Key(kind.Lease, "", node))
	if !ok {
		return Lease{}, false
	}
	l := Lease{Revision: e.Revision, Use: use, Known: use.Epoch == s.Epoch}
	if _, err := kind.Decode(e.Value, &l.Spec); err != nil {
		return Lease{}, false
	}
	l.Empty = map[netip.Prefix]time.Time{}
	for _, u := range l.use() {
		if u.Used > 0 {
			continue
		}
		l.Empty[u.Prefix] = now
		if since, known := s.empty[node][u.Prefix]; known {
			l.Empty[u.Prefix] = since
		}
	}
	s.empty[node] = l.Empty
	return l, true
}

// do takes one step.
func (s *Steward) do(ctx context.Context, node string, l Lease, step Step, now time.Time) {
	var err error
	switch step.Verb {
	case Grow:
		step.Prefix, err = s.Leases.Grow(ctx, node, step.Is4)
	case Drain:
		err = s.Leases.Drain(ctx, node, step.Prefix)
	case Yield:
		err = s.Leases.Yield(ctx, node, step.Prefix, l.Use.Revision)
	}
	if err == nil {
		delete(s.later, node)
		s.Log.Info("lease was fitted", note.Node, node, note.Op, step.Verb, note.Lease, step.Prefix, note.Why, step.Why)
		s.Note(node, reasons[step.Verb], fmt.Sprintf("%v: %s", step.Prefix, step.Why), false)
		return
	}
	s.later[node] = now.Add(retry)
	if !errors.Is(err, lease.ErrEnough) { // said by the node's own problem
		s.Log.Warn("lease was not fitted", note.Node, node, note.Op, step.Verb, note.Err, err, note.Retry, retry)
		s.Note(node, "LeaseNotFitted", err.Error(), true)
	}
}

// reasons are those of events.
var reasons = map[Verb]string{Grow: "PrefixAdded", Drain: "PrefixDraining", Yield: "PrefixReturned"}
