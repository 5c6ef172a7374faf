package reconcile

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
)

// Kernel is what a Loop keeps as it should be. Observe returns all objects of
// the kinds that are ours; Apply takes steps in order, is done with one that is
// done already, and returns an error for each.
type Kernel interface {
	Observe(ctx context.Context, kinds datapath.Kinds) (datapath.State, error)
	Apply(ctx context.Context, ops []datapath.Op) []error
}

// Want is what should be.
type Want struct {
	Objects []datapath.Object
	// Parts are the objects of further producers. A slice (here or in Objects)
	// that is the very one of the last plan is taken as unchanged, so whoever
	// gives it must not write to it again.
	Parts    [][]datapath.Object
	Complete bool  // what is not wanted may be deleted
	Revision int64 // of the intent from which it was planned
	// Keep names what stays though nobody wants it, because nobody can know yet.
	// It must be a function of the object alone; nil keeps nothing.
	Keep func(datapath.Object) bool
}

// Config makes a Loop. The zero values of times mean their defaults.
type Config struct {
	Kernel Kernel
	Plan   func(context.Context) (Want, error)
	Log    *slog.Logger // nil: none

	SlowLook time.Duration // everything is looked at after this time, to twice of it; 30 s
	Settle   time.Duration // events are gathered for so long; 2 ms
	Deadline time.Duration // of one look, and of one batch of steps; 10 s

	// OnTurn is called by Run's goroutine after Applied, Problems or Heals may
	// have changed. It must not block.
	OnTurn func()
}

// Loop keeps one kernel as it should be.
type Loop struct {
	cfg    Config
	wake   chan struct{} // room for one
	dirty  atomic.Uint32 // Kinds to look at
	since  atomic.Int64  // Unix nanoseconds of the first kick not yet served, 0: none
	paused atomic.Bool   // others' changes stay

	mu        sync.Mutex // for what follows
	requests  []request
	closed    bool // Run has ended
	applied   int64
	problems  []intent.Problem
	heals     ring
	untouched int

	// What follows belongs to Run's goroutine.
	want    wanted
	have    datapath.State
	open    *open
	seen    bool      // have knows every kind
	lookAt  time.Time // next look at everything
	past    map[datapath.Key]*past
	broken  map[datapath.Key]time.Time // what was undone, and since when
	planErr fault
	lookErr fault
	fights  []datapath.Op         // what did not stay done within one turn
	marks   map[datapath.Key]bool // what others changed while healing is paused
	again   time.Time             // a turn ended without an end; zero: it did not
}

// request is work for Run's goroutine.
type request struct {
	ctx  context.Context
	keys []datapath.Key
	do   func(context.Context) // instead of keys
	done chan error
}

// New makes a Loop. It does nothing before Run.
func New(cfg Config) *Loop {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		set *time.Duration
		to  time.Duration
	}{{&cfg.SlowLook, 30 * time.Second}, {&cfg.Settle, 2 * time.Millisecond}, {&cfg.Deadline, 10 * time.Second}} {
		if *d.set == 0 {
			*d.set = d.to
		}
	}
	return &Loop{
		cfg: cfg, wake: make(chan struct{}, 1), have: datapath.State{}, open: newOpen(),
		past: map[datapath.Key]*past{}, broken: map[datapath.Key]time.Time{},
	}
}

// Kick says that somebody touched objects of these kinds, or with no kinds that
// there is something new to plan. It never blocks.
func (l *Loop) Kick(kinds datapath.Kinds) {
	l.dirty.Or(uint32(kinds))
	l.since.CompareAndSwap(0, time.Now().UnixNano())
	l.rouse()
}

func (l *Loop) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run keeps the kernel as it should be until ctx ends. What it made stays.
func (l *Loop) Run(ctx context.Context) error {
	l.mu.Lock()
	l.closed = false
	l.mu.Unlock()
	defer l.refuse()
	l.Kick(datapath.AllKinds)
	settle, next := stopped(), stopped()
	defer settle.Stop()
	defer next.Stop()
	for settling := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
			l.serve(ctx)
			if !settling && l.since.Load() != 0 {
				settle.Reset(l.cfg.Settle)
				settling = true
			}
			continue
		case <-settle.C:
			settling = false
			l.turn(ctx, true)
		case <-next.C:
			l.turn(ctx, false)
		}
		next.Reset(time.Until(l.nextTurn()))
	}
}

func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// nextTurn is when there is something to do without a kick.
func (l *Loop) nextTurn() time.Time {
	at := l.lookAt
	if l.lookErr.err != nil {
		at = l.lookErr.next
	}
	for _, p := range l.past {
		if due := p.due(); !due.IsZero() && due.Before(at) {
			at = due
		}
	}
	if l.planErr.err != nil && l.planErr.next.Before(at) {
		at = l.planErr.next
	}
	if !l.again.IsZero() && l.again.Before(at) {
		at = l.again
	}
	return at
}

// spread is a time between d and twice of it, so that nodes that started
// together do not stay together.
func spread(d time.Duration) time.Duration { return d + rand.N(d) }

// Applied is the newest revision of which every step was taken. A step that
// failed counts: it is among the Problems and is tried again by itself.
func (l *Loop) Applied() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.applied
}
