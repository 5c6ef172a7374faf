package push

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/compile"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Mirror is the store's intent over one watch: store.Cache.
type Mirror interface {
	Subscribe(fn func(store.Batch)) (entries []store.Entry, revision int64, cancel func())
	Get(key string) (store.Entry, bool)
	Revision() int64
}

// Store is where reports and observations are written.
type Store interface {
	List(ctx context.Context, prefix string) ([]store.Entry, int64, error)
	Commit(ctx context.Context, txn store.Txn) (int64, error)
}

// Leases gives a node its subnets.
type Leases interface {
	Acquire(ctx context.Context, node string, carried []netip.Prefix) ([]netip.Prefix, error)
}

// Learner learns from agents what a restored store does not know:
// lease.Allocator.
type Learner interface {
	// Return is Acquire for a node of another epoch. kind.ClaimError: it carries
	// what is another's.
	Return(ctx context.Context, carried kind.Claim) ([]netip.Prefix, error)
	// Adopt answers the revision of the last write, and what was not taken.
	Adopt(ctx context.Context, claims []kind.Claim) (int64, []kind.Refusal, error)
}

// Trust keeps what agents trust: identity.Authority.
type Trust interface {
	// Trust answers what to tell a node that trusts these roots; nil: nothing.
	Trust(node string, said []string) *weftv1.Trust
	// Trusts hears what a node says that it trusts.
	Trusts(node string, roots []string)
}

// Config is what a Hub works with. Times of 0 are those of the contract.
type Config struct {
	Epoch  string // of the store: random, new after each restore
	Server string // this server's name; default "server"
	Run    string // of this process; default: drawn
	Mirror Mirror
	// Seen is the store's observations of nodes, over one watch: what other servers
	// say. nil: there is no other.
	Seen   Mirror
	Store  Store
	Leases Leases
	// Learner is asked while the fabric settles after a restore, which Settling says
	// at the start and Settled ends.
	Learner  Learner
	Settling bool
	// Identify answers with the node that a stream's certificate names.
	Identify func(ctx context.Context) (string, error)
	// AskAt has another server call its Hub's Handed; nil: there is none.
	AskAt func(ctx context.Context, server, node, method string, request []byte) ([]byte, error)
	// Trust says which roots agents shall trust; nil: nobody is told.
	Trust Trust
	// Echo makes what an agent asks the echo with, for a node at an address; nil: there
	// is no echo.
	Echo func(node string, at netip.Addr, now time.Time) *weftv1.EchoOffer
	// Note is told who comes and goes, and what goes wrong; it must not block.
	Note func(journal.Event)
	Log  *slog.Logger

	Heartbeat time.Duration // 3 s
	Dead      time.Duration // 8 s without a message, or with one that is not taken
	Refresh   time.Duration // 60 s between writes of this server, for all its nodes, that has nothing new to say
	History   int           // changes that a returning agent may have missed: 16384
	Hellos    int           // agents that are let in at one time: 64
	Fulls     int           // agents that are sent full sets at one time: 32
}

func (c Config) withDefaults() Config {
	c.Server, c.Run = cmp.Or(c.Server, "server"), cmp.Or(c.Run, rand.Text())
	c.Heartbeat = cmp.Or(c.Heartbeat, 3*time.Second)
	c.Dead = cmp.Or(c.Dead, 8*time.Second)
	c.Refresh = cmp.Or(c.Refresh, time.Minute)
	c.History = cmp.Or(c.History, 1<<14)
	c.Hellos = cmp.Or(c.Hellos, 64)
	c.Fulls = cmp.Or(c.Fulls, 32)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Hub holds all streams. It is safe for concurrent use.
type Hub struct {
	weftv1.UnimplementedNodeSyncServer
	cfg Config

	// compiling is held from an event's arrival until it is fanned out.
	compiling sync.Mutex
	compiler  *compile.Compiler
	land      land // safe by itself
	keys      keys // likewise

	mu       sync.RWMutex // what follows; taken before a stream's or a node's
	objects  map[ref]object
	order    []ref             // of objects, sorted
	digests  map[string]uint64 // by collection, of the objects for all nodes
	limited  int               // objects for some nodes only
	history  history
	revision int64 // 0 until the first list
	closed   bool
	last     *kind.ServerObservation // this server's last word, once it is closed
	streams  map[string]*stream
	nodes    map[string]*node // all that were seen since the start
	words    map[string]word  // the last of each node in the store
	problems []compile.Problem
	pace     pace
	settling bool // agents are asked for what they carry

	begin, end encoded // the brackets of a full set
	rounds     rounds
	turns      turns
	moved      signal // the revision, or who is there
	progress   signal // what nodes have applied
	hellos     chan struct{}
	count      atomic.Uint64 // of streams
	encodes    atomic.Uint64 // of objects
	observed   observer
	crowd      *crowd
	servers    atomic.Pointer[weftv1.SyncResponse] // where they are; nil until told
	tick       atomic.Uint64                       // of heartbeats
	work       work                                // the streams' goroutines
}

// New returns a Hub that knows nothing yet.
func New(cfg Config) *Hub {
	cfg = cfg.withDefaults()
	h := &Hub{
		cfg:      cfg,
		compiler: compile.New(),
		objects:  map[ref]object{},
		digests:  map[string]uint64{},
		history:  history{limit: cfg.History},
		streams:  map[string]*stream{},
		nodes:    map[string]*node{},
		words:    map[string]word{},
		begin:    must(bracket(weftv1.ReplaceAll_PHASE_BEGIN)),
		end:      must(bracket(weftv1.ReplaceAll_PHASE_END)),
		turns:    turns{free: cfg.Fulls},
		hellos:   make(chan struct{}, cfg.Hellos),
		observed: newObserver(),
		crowd:    newCrowd(cfg.Note),
		settling: cfg.Settling,
	}
	h.pace.timer = time.AfterFunc(time.Hour, h.round)
	h.pace.timer.Stop()
	return h
}

// Run follows the store and writes observations until ctx ends. Streams are
// served only while it runs; it cuts those that are left, and waits for them.
func (h *Hub) Run(ctx context.Context) error {
	cancel, err := h.follow()
	if err != nil {
		return err
	}
	defer cancel()
	if h.cfg.Seen != nil {
		entries, _, deaf := h.cfg.Seen.Subscribe(h.overhear)
		defer deaf()
		h.overhear(store.Batch{Events: events(entries)})
	}
	h.bury(ctx)
	h.observed.beacon() // whose streams are this run's
	h.work.start(func() { h.beat(ctx) })
	h.observe(ctx)
	h.crowd.tell() // that all go now is no news
	last := h.beacon()
	last.Gone = true
	h.mu.Lock()
	h.closed, h.last = true, &last
	h.pace.timer.Stop()
	for _, s := range h.streams {
		s.cut(ErrStopping)
	}
	h.mu.Unlock()
	h.work.end()
	final, done := context.WithTimeout(context.WithoutCancel(ctx), lastWrite)
	defer done()
	h.observed.beacon() // we are gone
	h.flush(final)
	return ctx.Err()
}

// lastWrite bounds the writing of last observations when the server stops.
const lastWrite = 2 * time.Second

func (h *Hub) follow() (cancel func(), err error) {
	h.compiling.Lock()
	defer h.compiling.Unlock()
	entries, revision, cancel := h.cfg.Mirror.Subscribe(h.take)
	if revision == 0 {
		cancel()
		return nil, errors.New("push: the store is not mirrored yet")
	}
	h.mu.Lock()
	h.history.floor = revision // what was deleted before is unknown
	h.mu.Unlock()
	h.keys.take(events(entries))
	if h.land.take(events(entries)) {
		h.judgeAgain()
	}
	if err := h.fan(h.compiler.Apply(events(entries)), revision); err != nil {
		cancel()
		return nil, err
	}
	return cancel, nil
}

// events are entries as what has just changed.
func events(entries []store.Entry) []store.Event {
	out := make([]store.Event, 0, len(entries))
	for _, e := range entries {
		out = append(out, store.Event{Entry: e})
	}
	return out
}

// take is called by the mirror with what changed.
func (h *Hub) take(b store.Batch) {
	h.compiling.Lock()
	defer h.compiling.Unlock()
	var revision int64
	for _, e := range b.Events {
		revision = max(revision, e.Revision)
	}
	h.keys.take(b.Events)
	if h.land.take(b.Events) {
		h.judgeAgain()
	}
	if err := h.fan(h.compiler.Apply(b.Events), revision); err != nil {
		h.cfg.Log.Error("intent not encoded", note.Err, err)
	}
}

// fan brings changes to all streams: each object is encoded here, once.
func (h *Hub) fan(changes []compile.Change, revision int64) error {
	objects := make([]object, len(changes))
	for i, c := range changes {
		if c.Gone {
			continue
		}
		var err error
		if objects[i], err = newObject(c.Object); err != nil {
			return fmt.Errorf("%w (object %s)", err, c.Key)
		}
		h.encodes.Add(1)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, c := range changes {
		r := ref{c.Collection, c.Key}
		was := h.objects[r].Audience
		h.put(r, objects[i], c.Gone)
		if c.Revision > h.history.floor {
			h.history.add(change{revision, r, was, c.Audience})
		}
	}
	h.revision = max(h.revision, revision)
	h.problems = h.compiler.Problems()
	wait := markerWait
	if len(changes) > 0 {
		wait = 0
	}
	h.schedule(wait)
	h.moved.send()
	h.progress.send()
	return nil
}

// put keeps objects and their order. h.mu is held.
func (h *Hub) put(r ref, o object, gone bool) {
	i, found := slices.BinarySearchFunc(h.order, r, ref.compare)
	if old, had := h.objects[r]; had {
		h.weigh(old, -1)
	}
	if !gone {
		h.weigh(o, +1)
	}
	switch {
	case gone && found:
		delete(h.objects, r)
		h.order = slices.Delete(h.order, i, i+1)
	case !gone && !found:
		h.order = slices.Insert(h.order, i, r)
	}
	if !gone {
		h.objects[r] = o
	}
}

// weigh keeps the digests of what all nodes are told. h.mu is held.
func (h *Hub) weigh(o object, sign int) {
	if o.Audience.Limited() {
		h.limited += sign
		return
	}
	h.digests[o.Collection] += uint64(sign) * o.digest
}
