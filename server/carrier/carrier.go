package carrier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/compile"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Mirror is the store's intent: store.Cache.
type Mirror interface {
	Subscribe(fn func(store.Batch)) (entries []store.Entry, revision int64, cancel func())
	Get(key string) (store.Entry, bool)
}

// Store is where the carriage is written, and what nodes have applied is read.
type Store interface {
	List(ctx context.Context, prefix string) ([]store.Entry, int64, error)
	Commit(ctx context.Context, txn store.Txn) (int64, error)
}

// Config is what a Mover works with. Times of 0 are those of the contract.
type Config struct {
	Epoch  string
	Mirror Mirror
	Store  Store
	Log    *slog.Logger
	// Note is told of each step, and of nodes that one waits for; may be nil.
	Note func(reason, message string, bad bool)

	Times               // 60 s, 2 s and 10 s
	Every time.Duration // 250 ms between looks while there is something to do
}

// Mover does what Plan says.
type Mover struct {
	Config
	waits  string         // the nodes that were told of
	gaveUp intent.Carrier // a change was given up for it; zero: none was
}

// New returns a Mover.
func New(c Config) *Mover {
	c.Patience, c.Linger, c.Yield = cmp.Or(c.Patience, time.Minute), cmp.Or(c.Linger, 2*time.Second), cmp.Or(c.Yield, 10*time.Second)
	c.Every = cmp.Or(c.Every, 250*time.Millisecond)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Note == nil {
		c.Note = func(string, string, bool) {}
	}
	return &Mover{Config: c}
}

// Run looks until ctx ends.
func (m *Mover) Run(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	_, _, cancel := m.Mirror.Subscribe(func(b store.Batch) {
		if slices.ContainsFunc(b.Events, matters) {
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	})
	defer cancel()
	for {
		going, err := m.look(ctx, time.Now())
		if err != nil && ctx.Err() == nil {
			m.Log.Warn("carriage not looked after", note.Err, err, note.Retry, time.Second)
		}
		var again <-chan time.Time
		switch {
		case err != nil:
			again = time.After(time.Second)
		case going:
			again = time.After(m.Every)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-again:
		}
	}
}

func matters(e store.Event) bool {
	k, _, _, ok := kind.ParseKey(e.Key)
	return ok && (k == kind.ClusterConfig || k == kind.Carriage)
}

// look takes the next step, and tells whether there may be a further one.
func (m *Mover) look(ctx context.Context, now time.Time) (bool, error) {
	want, ok, err := m.want()
	if err != nil || !ok {
		return false, err
	}
	place, there, err := m.place()
	if err != nil {
		return false, err
	}
	if !there {
		return true, m.write(ctx, place, Step{Next: kind.CarriageSpec{Send: want}}, now)
	}
	if place.Send.Is(want) && len(place.Receive) == 0 {
		m.waits, m.gaveUp = "", intent.Carrier{}
		return false, nil
	}
	place.Returned = m.gaveUp == want
	nodes, err := m.nodes(ctx)
	if err != nil {
		return true, err
	}
	step := Plan(want, place, nodes, now, m.Times)
	if step.Reason == "" {
		m.tell(place, want, step.Waits, now)
		return true, nil
	}
	return true, m.write(ctx, place, step, now)
}

// want is the carrier of the ClusterConfig.
func (m *Mover) want() (intent.Carrier, bool, error) {
	e, ok := m.Mirror.Get(kind.Key(kind.ClusterConfig, "", kind.DefaultName))
	if !ok {
		return intent.Carrier{}, false, nil
	}
	var spec kind.ClusterConfigSpec
	if _, err := kind.Decode(e.Value, &spec); err != nil {
		return intent.Carrier{}, false, fmt.Errorf("carrier: %w", err)
	}
	c, err := compile.Cluster(spec)
	if err != nil {
		return intent.Carrier{}, false, fmt.Errorf("carrier: %w", err)
	}
	return c.Carrier(), true, nil
}

func (m *Mover) place() (Place, bool, error) {
	e, ok := m.Mirror.Get(kind.Key(kind.Carriage, "", kind.DefaultName))
	p := Place{Revision: e.Revision}
	if !ok {
		return p, false, nil
	}
	if _, err := kind.Decode(e.Value, &p.CarriageSpec); err != nil {
		return p, true, fmt.Errorf("carrier: %w", err)
	}
	return p, true, nil
}

// nodes are those that hold a lease and have reported, as their servers see them.
func (m *Mover) nodes(ctx context.Context) ([]Node, error) {
	servers, _, err := m.Store.List(ctx, kind.ObservedServers)
	if err != nil {
		return nil, fmt.Errorf("carrier: %w", err)
	}
	runs := map[string]kind.ServerObservation{}
	for _, e := range servers {
		if o, err := kind.DecodeObservation[kind.ServerObservation](e); err == nil {
			runs[o.Run] = o
		}
	}
	seen, _, err := m.Store.List(ctx, kind.ObservedNodes)
	if err != nil {
		return nil, fmt.Errorf("carrier: %w", err)
	}
	observed := map[string]kind.NodeObservation{}
	for _, e := range seen {
		if o, err := kind.DecodeObservation[kind.NodeObservation](e); err == nil {
			name := strings.TrimPrefix(e.Key, kind.ObservedNodes)
			observed[name] = runs[o.Run].Of(name, o)
		}
	}
	paths, err := m.paths(ctx)
	if err != nil {
		return nil, err
	}
	var out []Node
	for _, n := range m.peers() {
		o, known := observed[n.Name]
		n.Live = known && !o.Gone
		if o.Epoch == m.Epoch {
			n.Applied = o.AppliedRevision
		}
		if p := paths[n.Name]; p.Epoch == m.Epoch {
			n.Told, n.Old = p.Revision, p.Old
		}
		out = append(out, n)
	}
	return out, nil
}

// paths are what nodes said last of their pairs, by name.
func (m *Mover) paths(ctx context.Context) (map[string]kind.PathsObservation, error) {
	entries, _, err := m.Store.List(ctx, kind.ObservedPaths)
	if err != nil {
		return nil, fmt.Errorf("carrier: %w", err)
	}
	out := map[string]kind.PathsObservation{}
	for _, e := range entries {
		if o, err := kind.DecodeObservation[kind.PathsObservation](e); err == nil {
			out[strings.TrimPrefix(e.Key, kind.ObservedPaths)] = o
		}
	}
	return out, nil
}

// peers are the nodes that others send to, as far as their reports tell.
func (m *Mover) peers() []Node {
	entries, _, cancel := m.Mirror.Subscribe(func(store.Batch) {})
	cancel()
	reports := map[string]kind.ReportSpec{}
	for _, e := range entries {
		if k, _, name, ok := kind.ParseKey(e.Key); ok && k == kind.Report {
			var spec kind.ReportSpec
			_, _ = kind.Decode(e.Value, &spec) // compile's problem: a report all the same
			reports[name] = spec
		}
	}
	var out []Node
	for _, e := range entries {
		k, _, name, ok := kind.ParseKey(e.Key)
		if spec, reported := reports[name]; ok && k == kind.Lease && reported {
			out = append(out, Node{Name: name, Meshes: slices.Contains(spec.Capabilities, intent.CapabilityMesh)})
		}
	}
	return out
}

// write takes a step, unless somebody else has taken one.
func (m *Mover) write(ctx context.Context, p Place, step Step, now time.Time) error {
	step.Next.AtUnix = now.Unix()
	value, err := kind.Encode(kind.Carriage, kind.Metadata{Name: kind.DefaultName}, step.Next)
	if err != nil {
		return err
	}
	key := kind.Key(kind.Carriage, "", kind.DefaultName)
	_, err = m.Store.Commit(ctx, store.Txn{
		If:   []store.Cond{{Key: key, Revision: p.Revision}},
		Then: []store.Write{{Key: key, Value: value}},
	})
	switch {
	case errors.Is(err, store.ErrConflict):
		return nil // the mirror brings what was written instead
	case err != nil:
		return fmt.Errorf("carrier: %w", err)
	}
	m.waits = ""
	if step.For != (intent.Carrier{}) {
		m.gaveUp = step.For
	}
	if step.Reason != "" {
		m.Log.Info("carriage changed", note.Op, step.Reason, note.Why, step.Message)
		m.Note(step.Reason, step.Message, false)
	}
	return nil
}

// tell says once which nodes a change waits for, when it has for long.
func (m *Mover) tell(p Place, want intent.Carrier, nodes []string, now time.Time) {
	names := named(nodes)
	if len(nodes) == 0 || m.waits == names || !p.stood(m.Patience, now) {
		return
	}
	m.waits = names
	message := fmt.Sprintf("%v is received as well until %s has applied the change; weft delete node, for one that is gone", p.Receive[0], names)
	if p.meshed() {
		message = fmt.Sprintf("%v is received as well until %s has applied the change and its pairs have moved: weft mesh explain tells what keeps one; weft delete node, for a node that is gone", p.Receive[0], names)
	}
	if !p.Send.Is(want) {
		message += fmt.Sprintf("; %v, which is wanted, comes only then", want)
	}
	m.Log.Warn("carriage waits", note.Why, message)
	m.Note("CarrierWaits", message, true)
}
