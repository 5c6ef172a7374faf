package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/store"
)

// The lists.
const (
	Events = store.Journal + "events/"
	Acts   = store.Journal + "audit/"
)

// Bounds on what waits to be written, and how long it does.
const (
	maxEvents   = 4096
	maxActs     = 1024
	maxWaiters  = 256 // acts that are not stored: past that, Blocked
	eventsEvery = time.Second
	gatherFor   = 200 * time.Millisecond // events of one cause
	lookEvery   = 5 * time.Second        // at windows that have ended
)

// Config makes a Journal.
type Config struct {
	Store  Store
	Server string // that writes
	Log    *slog.Logger
}

// Journal writes and reads. It is safe for concurrent use; a nil one takes notes
// and forgets them.
type Journal struct {
	cfg    Config
	events *book[Happening]
	acts   *book[Act]
	told   *folds[Event]
	denied *folds[denial]
	told0  int // lost events that were told of
}

// denial is what refusals that are counted together have in common.
type denial struct{ user, role, serial, from, method, outcome, rule string }

// New returns a Journal. It writes while Run runs.
func New(c Config) *Journal {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Journal{
		cfg:    c,
		events: newBook[Happening](c.Store, Events, c.Server, maxEvents),
		acts:   newBook[Act](c.Store, Acts, c.Server, maxActs),
		told:   newFolds[Event](),
		denied: newFolds[denial](),
	}
}

// Note takes an event and never waits.
func (j *Journal) Note(e Event) {
	if j == nil {
		return
	}
	e = e.bounded()
	now := time.Now()
	if !j.told.again(e, now) {
		j.append(e, now, now, 1)
	}
}

func (j *Journal) append(e Event, first, last time.Time, count int) {
	j.events.add(item[Happening]{value: Happening{Event: e, First: first.UTC(), Last: last.UTC(), Count: count, Server: j.cfg.Server}}, gatherFor)
}

// ErrNotStored is what Record answers when the store did not take the record in
// time. The record is kept, logged, and tried again.
var ErrNotStored = errors.New("journal: the audit's record is not stored yet")

// Record stores an act, and returns when it is stored or ctx ends.
func (j *Journal) Record(ctx context.Context, a Act) error {
	a = a.bounded()
	a.At = a.At.UTC()
	stored := make(chan struct{})
	if !j.acts.add(item[Act]{value: a, stored: stored}, 0) {
		j.unstored(a, "too many wait")
		return fmt.Errorf("%w, and will not be: %d others wait", ErrNotStored, maxActs)
	}
	select {
	case <-stored:
		return nil
	case <-ctx.Done():
		j.unstored(a, context.Cause(ctx).Error())
		return fmt.Errorf("%w: %w", ErrNotStored, context.Cause(ctx))
	}
}

// unstored logs a record, so that it is somewhere.
func (j *Journal) unstored(a Act, why string) {
	j.cfg.Log.Error("audit not stored", note.Role, a.Role, note.User, a.User, note.Op, a.Method, note.Object, strings.Join(a.Objects, ","), note.Why, why)
}

// Deny takes a refused call and never waits: refusals alike within a minute are
// one record with a count.
func (j *Journal) Deny(a Act) { j.DenyBy("", a) }

// DenyBy is Deny where a call is refused by one rule of several: what different
// rules refuse is not alike.
func (j *Journal) DenyBy(rule string, a Act) {
	a = a.bounded()
	k := denial{a.User, a.Role, a.Serial, a.From, a.Method, a.Outcome, rule}
	if j.denied.again(k, time.Now()) {
		return
	}
	a.At = a.At.UTC()
	j.acts.add(item[Act]{value: a}, time.Second)
}

// Blocked says why no write may be let in now: too many records of earlier ones
// are not stored.
func (j *Journal) Blocked() error {
	if n, _ := j.acts.counts(); n >= maxWaiters {
		return fmt.Errorf("%d writes are not in the audit yet, because the store does not take them; no more is let in before it does", n)
	}
	return nil
}

// Lost is how many events were dropped because the queue was full.
func (j *Journal) Lost() int { _, lost := j.events.counts(); return lost }

// Waiting is how many events and records are not stored yet, and how many events
// were lost.
func (j *Journal) Waiting() (events, acts, lost int) {
	events, lost = j.events.counts()
	acts, _ = j.acts.counts()
	return events, acts, lost
}

// Run writes until ctx ends. What waits then is written by Flush.
func (j *Journal) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { j.events.run(ctx, eventsEvery, j.failed) })
	running.Go(func() { j.acts.run(ctx, 0, j.failed) })
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			running.Wait()
			return nil
		case now := <-look.C:
			j.tellCounts(now)
		}
	}
}

func (j *Journal) failed(err error, retry time.Duration) {
	j.cfg.Log.Warn("journal not written", note.Err, err, note.Retry, retry)
}

// tellCounts writes what was counted, and how much was lost.
func (j *Journal) tellCounts(now time.Time) {
	j.told.ended(now, func(e Event, o fold) { j.append(e, o.first, o.last, o.count) })
	j.denied.ended(now, func(k denial, o fold) {
		j.acts.add(item[Act]{value: Act{
			At: o.last.UTC(), User: k.user, Role: k.role, Serial: k.serial, From: k.from,
			Method: k.method, Outcome: k.outcome, Count: o.count,
		}}, time.Second)
	})
	if lost := j.Lost(); lost > j.told0 {
		j.append(Event{
			Kind: Warning, Object: "Server/" + j.cfg.Server, Reason: "EventsLost",
			Message: fmt.Sprintf("%d events were dropped: more happened than is written", lost-j.told0),
		}, now, now, 1)
		j.told0 = j.Lost() // the telling itself may not have fitted
	}
}

// Flush writes all that waits, for a server that stops.
func (j *Journal) Flush(ctx context.Context) error {
	return errors.Join(j.events.flush(ctx), j.acts.flush(ctx))
}
