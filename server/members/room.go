package members

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/store"
	"golang.org/x/sync/errgroup"
)

// election is the one that servers stand for.
const election = "leader"

// Store is what is needed of it beyond store.Store.
type Store interface {
	store.Store
	// Campaign stands for an election until ctx ends; lead runs while it is won.
	Campaign(ctx context.Context, name, id string, lead func(ctx context.Context, fence store.Cond) error) error
	// Hold keeps a key while ctx lives and this process does. store.ErrHeld of
	// write is tried again.
	Hold(ctx context.Context, key string, write func(old store.Entry) ([]byte, error)) error
}

// Config is what a Room works with.
type Config struct {
	Server  Server // this one; Schema, StartedUnix and Instance are filled in
	Store   Store
	Files   Files
	Mode    string                 // of the store: Alone, Clustered or Elsewhere
	Roster  Roster                 // nil unless it is clustered
	DialTLS *tls.Config            // how other servers are dialed
	Note    func(Event)            // of the world; nil: nobody listens
	Free    func() (uint64, error) // bytes on the disk of --data-dir; nil: nobody looks
	// FreeBackups is of --backup-dir, if that is another disk; nil: nobody looks.
	FreeBackups func() (uint64, error)
	Now         func() time.Time
	Log         *slog.Logger
}

// Event is what happened to a server.
type Event struct{ Server, Reason, Message string }

// Room is one server among the servers of a fabric. It is safe for concurrent
// use.
type Room struct {
	cfg        Config
	servers    *store.Cache
	candidates *store.Cache
	lines      lines
	roster     roster
	kick       chan struct{} // room for one: the records changed

	mu       sync.Mutex
	fence    store.Cond    // of our office; zero without one
	changed  chan struct{} // closed when the leader or a record changes
	work     []work
	watchers []func([]Status)
	problem  map[string]Problem // of maintenance, by subject
	low      low                // our disks that are nearly full
	silence  Silence            // of the store; zero while it answers
}

// work is what one server does.
type work struct {
	name string
	run  func(ctx context.Context) error
}

// New returns a Room that knows nothing yet.
func New(c Config) *Room {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Note == nil {
		c.Note = func(Event) {}
	}
	c.Server.Schema, c.Server.StartedUnix, c.Server.Instance = schema.Registration.Version(), c.Now().Unix(), rand.Text()
	r := &Room{
		cfg: c, kick: make(chan struct{}, 1), changed: make(chan struct{}), problem: map[string]Problem{},
		servers:    store.NewCache(c.Store, store.Servers),
		candidates: store.NewCache(c.Store, store.Election+election),
	}
	r.lines.tls = c.DialTLS
	r.Lead("promote learners", r.promote)
	r.Lead("note lost servers", r.noteLost)
	r.Lead("maintain etcd", r.maintain)
	return r
}

// Lead gives work to do while this server leads: run is called whenever it is
// elected, with a context that ends with the office, and again after a while if it
// fails. It must be given before Run.
func (r *Room) Lead(name string, run func(ctx context.Context) error) {
	r.work = append(r.work, work{name, run})
}

// OnChange calls fn with all servers when one came, went, or became leader, and at
// first. fn must be quick. It must be given before Run.
func (r *Room) OnChange(fn func([]Status)) { r.watchers = append(r.watchers, fn) }

// stopWithin bounds what is written last.
const stopWithin = 2 * time.Second

// Run takes part until ctx ends. It fails when another server lives under this
// name, and when the store went back.
func (r *Room) Run(ctx context.Context) error {
	defer r.lines.close()
	for _, c := range []*store.Cache{r.servers, r.candidates} {
		_, _, cancel := c.Subscribe(func(store.Batch) { r.moved() })
		defer cancel()
	}
	g, ctx := errgroup.WithContext(ctx)
	held, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	g.Go(func() error { return r.follow(ctx, r.servers) })
	g.Go(func() error { return r.follow(ctx, r.candidates) })
	g.Go(func() error { return r.campaign(ctx) })
	g.Go(func() error { return r.tell(ctx) })
	g.Go(func() error { return r.outlive(ctx) })
	g.Go(func() error { return r.watchDisks(ctx) })
	g.Go(func() error { return r.listen(ctx) })
	g.Go(func() error {
		defer release()
		<-ctx.Done()
		r.sayStopped(ctx)
		return nil
	})
	g.Go(func() error {
		if err := r.register(held); held.Err() == nil {
			return err
		}
		return nil
	})
	return g.Wait()
}

// WaitRegistered returns when the others can know of this server, or when ctx ends.
func (r *Room) WaitRegistered(ctx context.Context) {
	for {
		changed := r.next()
		if r.registered() {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// registered says whether the registration under our name is ours.
func (r *Room) registered() bool {
	e, ok := r.servers.Get(liveKey(r.cfg.Server.Name))
	if !ok {
		return false
	}
	s, err := decode[Server](e)
	return err == nil && s.Instance == r.cfg.Server.Instance
}

// retryAfter is the pause before the store is followed again.
const retryAfter = time.Second

func (r *Room) follow(ctx context.Context, c *store.Cache) error {
	for {
		err := c.Run(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, store.ErrWentBack) {
			return fmt.Errorf("members: %w; start the server again", err)
		}
		r.cfg.Log.Warn("store not followed", note.Room, "members", note.Err, err, note.Retry, retryAfter)
		if !pause(ctx, retryAfter) {
			return nil
		}
	}
}

// moved tells those who wait that a record changed.
func (r *Room) moved() {
	r.mu.Lock()
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// tell keeps what stays of this server right, and hands changes on.
func (r *Room) tell(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.kick:
		}
		if r.registered() {
			if err := r.leaveTrace(ctx, r.trace()); err != nil && ctx.Err() == nil {
				r.cfg.Log.Warn("server not recorded", note.Err, err)
			}
		}
		all := r.Servers()
		r.lines.keep(all)
		for _, fn := range r.watchers {
			fn(all)
		}
	}
}

// Servers lists all servers, by name: as the records say, or while the store
// answers nobody, as far as this one reaches them.
func (r *Room) Servers() []Status {
	if silence, silent := r.Silence(); silent {
		return silence.reached(r.recorded(), r.cfg.Server.Name)
	}
	return r.recorded()
}

// recorded lists servers as the records say.
func (r *Room) recorded() []Status {
	entries, _ := r.servers.Snapshot()
	candidates, _ := r.candidates.Snapshot()
	leader, _ := first(candidates)
	return list(entries, leader, r.members(), r.cfg.Now())
}

// members are those of the embedded etcd, from memory; none of an etcd elsewhere.
func (r *Room) members() []store.Member {
	if r.cfg.Roster == nil {
		return nil
	}
	all, _ := r.cfg.Roster.Members(context.Background())
	return all
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
