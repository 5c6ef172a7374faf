package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Store is what the allocator needs of store.Store.
type Store interface {
	Get(ctx context.Context, key string) (store.Entry, error)
	List(ctx context.Context, prefix string) ([]store.Entry, int64, error)
	Commit(ctx context.Context, txn store.Txn) (int64, error)
}

// ErrNoConfig is what everything answers while there is no ClusterConfig.
var ErrNoConfig = errors.New("there is no ClusterConfig yet; a server writes it at its first start")

const (
	maxBatch    = 64              // Acquires in one transaction
	maxTries    = 30              // transactions lost to races in a row
	commitLimit = 5 * time.Second // of one turn, whoever asked may leave meanwhile
)

// ErrDeposed is what everything that writes answers on a server that does not
// lead, or does no more.
var ErrDeposed = errors.New("this server does not lead any more; ask again")

// Config is what an Allocator works with. Now and Log have defaults.
type Config struct {
	Store Store
	// Fence is what every transaction carries: it fails once this server is
	// deposed. It answers false on one that does not lead. nil: all may write,
	// and agree by the guard alone.
	Fence func() (store.Cond, bool)
	Now   func() time.Time
	Log   *slog.Logger
	// Note is told of leases given and freed; it must not block. Nil: nobody is.
	Note func(journal.Event)
	// Servers tells the addresses of servers by name, which ranges must not hold; may
	// be nil.
	Servers func() map[string][]netip.Addr
}

// Allocator gives prefixes to nodes. Several over one store, in one process or
// many, agree.
type Allocator struct {
	store Store
	fence func() (store.Cond, bool)
	now   func() time.Time
	log   *slog.Logger
	note  func(journal.Event)
	hosts func() map[string][]netip.Addr

	asked chan *request      // who waits for the next shared transaction
	turn  chan *book         // holds one book, nil if it must be read: having it is the lock
	known map[string]holding // leases as last read, by node; under the turn
}

// request is one Acquire on its way.
type request struct {
	node     string
	carried  []netip.Prefix
	address  []netip.Prefix // of the node's report
	returns  bool           // from another epoch: of
	epoch    string
	revision int64
	from     map[netip.Prefix]string // nodes that gave way
	done     chan struct{}           // closed when given and err are set
	given    []netip.Prefix
	err      error
}

// New returns an Allocator. It reads the store at the first question.
func New(c Config) *Allocator {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Note == nil {
		c.Note = func(journal.Event) {}
	}
	if c.Servers == nil {
		c.Servers = func() map[string][]netip.Addr { return nil }
	}
	a := &Allocator{
		store: c.Store, fence: c.Fence, now: c.Now, log: c.Log, note: c.Note, hosts: c.Servers,
		asked: make(chan *request, maxBatch), turn: make(chan *book, 1),
	}
	a.turn <- nil
	return a
}

// Acquire gives a node its prefixes, one a family in the order of the cluster's
// ranges, and the same again whenever it asks. A reservation is honoured, and
// completed where it lacks a family. carried is what the node holds on its disk:
// honoured where it is valid and free, for a store that was lost.
//
// After an error it is not known whether a lease was written; asking again is
// safe. The error wraps ipam.ErrFull when the ranges are used up.
func (a *Allocator) Acquire(ctx context.Context, node string, carried []netip.Prefix) ([]netip.Prefix, error) {
	return a.ask(ctx, &request{node: node, carried: carried})
}

// ask waits for what a request is given.
func (a *Allocator) ask(ctx context.Context, r *request) ([]netip.Prefix, error) {
	node := r.node
	if err := intent.ValidName(node); err != nil {
		return nil, fmt.Errorf("lease: node name %w", err)
	}
	address, err := a.addresses(ctx, node)
	if err != nil {
		return nil, err
	}
	r.address, r.done = address, make(chan struct{})
	for asked := a.asked; ; {
		select {
		case asked <- r:
			asked = nil
		case <-r.done:
			return r.given, r.err
		case <-ctx.Done():
			return nil, fmt.Errorf("lease: node %s: %w", node, ctx.Err())
		case b := <-a.turn:
			a.serve(ctx, b)
		}
	}
}

// serve answers everybody who has asked by now, in one transaction. It holds the
// turn, and gives it back.
func (a *Allocator) serve(ctx context.Context, b *book) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitLimit)
	defer cancel()
	defer func() { a.turn <- b }()
	var batch []*request
	for cost := 0; cost < maxBatch && len(a.asked) > 0; {
		r := <-a.asked
		batch = append(batch, r)
		if cost++; r.returns { // its lease, on whose word, a dispute, and who gives way
			cost += 2 + 2*len(r.carried)
		}
	}
	if len(batch) == 0 {
		return
	}
	fresh := map[string]bool{}
	b, err := a.retry(ctx, b, func(b *book) (store.Txn, error) {
		if b.config == 0 {
			return store.Txn{}, ErrNoConfig
		}
		for _, r := range batch {
			_, had := b.held[r.node]
			fresh[r.node] = !had
		}
		return b.acquire(batch, a.now()), nil
	})
	for _, r := range batch {
		if err != nil {
			r.given, r.err = nil, fmt.Errorf("lease: node %s: %w", r.node, err)
		}
		for p, other := range r.from {
			if r.err == nil {
				a.log.Info("lease of a restored store went to who carries it", note.Node, other, note.Lease, p, note.Of, r.node)
			}
		}
		if r.err == nil {
			a.log.Debug("lease was acquired", note.Node, r.node, note.Lease, r.given)
			if fresh[r.node] {
				a.note(journal.Event{Object: "Lease/" + r.node, Reason: "LeaseGiven", Message: listed(r.given), Actor: "node " + r.node})
			}
		}
		close(r.done)
	}
}

// retry decides from the book and commits, again and again while others write
// meanwhile. An empty transaction is not committed. The book that it answers is
// nil when it has to be read again: after an error nobody knows what is stored.
func (a *Allocator) retry(ctx context.Context, b *book, decide func(*book) (store.Txn, error)) (*book, error) {
	for try := 1; ; try++ {
		var err error
		if b, err = a.current(ctx, b); err != nil {
			return nil, err
		}
		txn, err := decide(b)
		if err != nil {
			return nil, err
		}
		if len(txn.Then) == 0 {
			return b, nil
		}
		if txn, err = a.fenced(txn); err != nil {
			return nil, err
		}
		rev, err := a.store.Commit(ctx, txn)
		if err == nil {
			b.committed(txn, rev)
			return b, nil
		}
		if !errors.Is(err, store.ErrConflict) || try == maxTries {
			return nil, fmt.Errorf("lease: transaction %d: %w", try, err)
		}
		a.log.Debug("lease transaction lost its race", note.Retry, try)
		b = nil
		if err := pause(ctx, try); err != nil {
			return nil, err
		}
	}
}

// fenced adds the condition that this server still leads.
func (a *Allocator) fenced(txn store.Txn) (store.Txn, error) {
	if a.fence == nil {
		return txn, nil
	}
	fence, leads := a.fence()
	if !leads {
		return txn, ErrDeposed
	}
	txn.If = append(slices.Clip(txn.If), fence)
	return txn, nil
}

// current is the book if it still stands, else it is read. The guard and the
// configuration moved if anybody changed anything that it holds.
func (a *Allocator) current(ctx context.Context, b *book) (*book, error) {
	if b != nil {
		guard, err := revision(ctx, a.store, guardKey)
		if err != nil {
			return nil, err
		}
		config, err := revision(ctx, a.store, configKey)
		if err != nil {
			return nil, err
		}
		if guard == b.guard && config == b.config {
			return b, nil
		}
	}
	b, err := read(ctx, a.store, a.known, a.now(), a.log)
	if err == nil {
		a.known = maps.Clone(b.held)
		maps.DeleteFunc(a.known, func(node string, _ holding) bool { return b.broken[node] != nil })
	}
	return b, err
}

func revision(ctx context.Context, s Store, key string) (int64, error) {
	e, err := s.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, fmt.Errorf("lease: %w", err)
	}
	return e.Revision, nil
}

// addresses are those that a node last reported: a node is given no lease while
// one of them lies in the cluster's ranges.
func (a *Allocator) addresses(ctx context.Context, node string) ([]netip.Prefix, error) {
	e, err := a.store.Get(ctx, kind.Key(kind.Report, "", node))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("lease: report of node %s: %w", node, err)
	}
	var spec kind.ReportSpec
	if _, err := kind.Decode(e.Value, &spec); err != nil {
		return nil, fmt.Errorf("lease: report of node %s: %w", node, err)
	}
	var out []netip.Prefix
	for _, r := range spec.Addresses {
		out = append(out, r.Address)
	}
	return slices.Clip(out), nil
}

// pause keeps two servers from losing to each other for ever.
func pause(ctx context.Context, try int) error {
	t := time.NewTimer(rand.N(time.Duration(try) * time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take waits for the turn.
func (a *Allocator) take(ctx context.Context) (*book, error) {
	select {
	case b := <-a.turn:
		return b, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("lease: %w", ctx.Err())
	}
}

// listed are prefixes in a sentence.
func listed(ps []netip.Prefix) string {
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = p.String()
	}
	return strings.Join(texts, ", ")
}
