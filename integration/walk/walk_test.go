package walk

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/server/backup"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/lease"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/etcd"
	"github.com/weft-net/weft/server/store/storetest"
)

// operations of all walks together, and beside them of the one over a real etcd. WEFT_WALK says
// another number (make soak: a million), WEFT_SEED the only seed.
const (
	operations     = 30_000
	operationsEtcd = 2_000
)

// seeds are walked each time, with one more that is new.
var seeds = []uint64{7, 8, 1795283006370222781}

func number(t *testing.T, name string, otherwise uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func TestNothingTwice(t *testing.T) {
	all := append([]uint64{uint64(time.Now().UnixNano())}, seeds...)
	if seed := number(t, "WEFT_SEED", 0); seed != 0 {
		all = []uint64{seed}
	}
	most := int(number(t, "WEFT_WALK", operations)) * 4 / 5 / len(all)
	for i, seed := range all {
		name := strconv.FormatUint(seed, 10)
		if len(all) > 1 && i == 0 {
			name = "new"
		}
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			var w *world
			synctest.Test(t, func(t *testing.T) {
				w = found(t, seed, storetest.New())
				w.walk(most)
				w.ends()
			})
			w.report(t, time.Since(began))
		})
	}
}

// As long as a store is not lost, it does not forget: whatever is restored, nobody is
// ever refused what it holds.
func TestNothingForgotten(t *testing.T) {
	seed := number(t, "WEFT_SEED", uint64(time.Now().UnixNano()))
	began := time.Now()
	var w *world
	synctest.Test(t, func(t *testing.T) {
		w = found(t, seed, storetest.New())
		w.calm = true
		w.walk(int(number(t, "WEFT_WALK", operations)) / 5)
		w.ends()
	})
	w.report(t, time.Since(began))
	if w.model.beaten > 0 {
		t.Errorf("%d prefixes are of two", w.model.beaten)
	}
}

// The same over the real store, where time is real, too: few operations.
func TestNothingTwiceOverEtcd(t *testing.T) {
	seed := number(t, "WEFT_SEED", uint64(time.Now().UnixNano()))
	s, err := etcd.Embed(t.Context(), etcd.Config{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	began := time.Now()
	w := found(t, seed, s)
	w.calm, w.seldom = true, true
	w.walk(operationsEtcd / 2)
	w.save()
	w.walk(operationsEtcd * 3 / 4)
	w.restore()
	w.walk(operationsEtcd)
	w.report(t, time.Since(began))
}

// world is servers, nodes, a store and a model.
type world struct {
	t        *testing.T
	seed     uint64
	r        *rand.Rand
	store    *spy
	room     *backup.Room
	sealed   backup.Sealed      // what servers keep beside their key
	locals   []*lease.Allocator // of servers, leaders or not
	learner  *lease.Allocator
	leader   int
	fence    store.Cond // of the leader
	epoch    string
	skew     time.Duration
	agents   []*agent
	model    *model
	files    []string
	memories map[string]memory // of backups

	calm     bool // the store is never lost
	seldom   bool // no restores, and no time that passes, but where the test says so
	settling bool
	deaf     bool // agents have nothing but their own lease on disk
	done     int

	counts
}

type counts struct {
	given, released, full, answers, races, crashes, leaders, jumps, grown, yielded, extended, configured, renamed, refused int
	backups, restores, lost, adopted, broken, cutShort, returned, claimed, zombies, ways                                   int
}

const (
	servers = 3
	nodes   = 100
)

func found(t *testing.T, seed uint64, s backup.Store) *world {
	w := &world{t: t, seed: seed, r: rand.New(rand.NewPCG(seed, 1)), store: newSpy(s), model: newModel(), memories: map[string]memory{}}
	w.room = backup.New(backup.Config{Store: w.store, Folder: backup.Folder{Path: t.TempDir()}, Keep: 5, Server: "s1", Version: "walk", Now: w.now})
	config, err := kind.Encode(kind.ClusterConfig, kind.Metadata{Name: kind.DefaultName},
		kind.ClusterConfigSpec{ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/17")}, MaxPrefixes: 3})
	w.must(err)
	_, err = w.store.Commit(t.Context(), store.Txn{Then: append(backup.Epoch("e1", 1),
		store.Write{Key: kind.Key(kind.ClusterConfig, "", kind.DefaultName), Value: config}, store.Write{Key: store.Fabric + "id", Value: []byte("walk")})})
	w.must(err)
	for i := range nodes {
		w.agents = append(w.agents, &agent{name: fmt.Sprintf("n%d", i), up: true})
	}
	w.assemble()
	return w
}

// assemble makes servers of the epoch that the store holds.
func (w *world) assemble() {
	e, err := w.store.Get(w.t.Context(), store.Fence)
	w.must(err)
	w.epoch = string(e.Value)
	w.locals = nil
	for range servers {
		w.locals = append(w.locals, w.local(len(w.locals), e.Revision))
	}
	w.learner = lease.New(lease.Config{Store: store.Fenced(w.store, e.Revision), Now: w.now})
	w.sealed, err = backup.Seal(w.t.Context(), w.store)
	w.must(err)
	w.elect()
}

func (w *world) local(i int, fence int64) *lease.Allocator {
	return lease.New(lease.Config{Store: store.Fenced(w.store, fence), Now: w.now, Fence: func() (store.Cond, bool) {
		return w.fence, i == w.leader // one that was deposed finds out by its write
	}})
}

// elect makes another server the leader: writes of the one before lose.
func (w *world) elect() {
	w.heal()
	key := store.Election + "leader"
	rev, err := w.store.Commit(w.t.Context(), store.Txn{Then: []store.Write{{Key: key, Value: []byte{byte('0' + w.r.IntN(10))}}}})
	w.must(err)
	w.fence, w.leader = store.Cond{Key: key, Revision: rev}, w.r.IntN(servers)
	w.leaders++
}

// crash makes one server anew.
func (w *world) crash() {
	e, err := w.store.Get(w.t.Context(), store.Fence)
	w.must(err)
	i := w.r.IntN(servers)
	w.locals[i] = w.local(i, e.Revision)
	w.crashes++
}

func (w *world) walk(until int) {
	for ; w.done < until; w.done++ {
		w.step()
		w.checked()
	}
}

func (w *world) step() {
	n := w.agents[w.r.IntN(nodes)]
	switch roll := w.r.IntN(10_000); {
	case roll < 5200:
		w.ask(n)
	case roll < 6200:
		w.release(n)
	case roll < 7400:
		w.adjust(n)
	case roll < 7500:
		w.rename(n)
	case roll < 8000:
		if n != w.agents[0] { // one is always there
			w.leave(n)
		}
	case roll < 8400:
		n.up = true
	case roll < 8700:
		w.fault()
	case roll < 8900:
		w.crash()
	case roll < 9100:
		w.elect()
	case roll < 9150:
		w.configure()
	case roll < 9250:
		w.complete()
	case roll < 9300: // clocks are set, by hours, either way
		w.skew += time.Duration(w.r.Int64N(int64(12*time.Hour))) - 6*time.Hour
		w.jumps++
	case roll < 9950:
		w.skew += time.Duration(w.r.Int64N(int64(40*time.Minute))) - 15*time.Minute
		if !w.seldom {
			time.Sleep(time.Duration(w.r.Int64N(int64(time.Minute)))) // the bubble's
		}
	case w.seldom:
	case roll < 9985:
		w.save()
	case roll < 9995 || w.calm:
		w.restore()
	default:
		w.lose()
	}
}

// ends has everybody come, and an operator mend what is named, until all have what
// they use, and the store knows it.
func (w *world) ends() {
	w.heal()
	var restless *agent
	for range 100 {
		restless = nil
		for _, n := range w.agents {
			n.up = true
			w.ask(n)
			if n.epoch != w.epoch && (n.lease != nil || w.full == 0) {
				restless = n
			}
		}
		w.checked()
		if restless == nil {
			return
		}
	}
	w.fail(fmt.Errorf("%s does not come to rest", restless.name))
}

// report says what the walk met, and fails if it missed something.
func (w *world) report(t *testing.T, took time.Duration) {
	t.Helper()
	c := w.counts
	t.Logf("seed %d: %d operations in %v, %.0f a second", w.seed, w.done, took.Round(time.Millisecond), float64(w.done)/took.Seconds())
	t.Logf("%d leases given, %d released (%d while their node was away), %d prefixes more, %d fewer, %d families, %d full; %d configurations and names refused, %d and %d changed; %d answers lost, %d races, %d servers crashed, %d leaders changed, %d jumps of clocks",
		c.given, c.released, c.zombies, c.grown, c.yielded, c.extended, c.full, c.refused, c.configured, c.renamed, c.answers, c.races, c.crashes, c.leaders, c.jumps)
	t.Logf("%d backups, %d restores, %d stores lost and made of a backup, %d of agents (%d crashes on the way, %d cut short by the next), %d returned, %d claimed, %d refused by name, %d of two that nobody could know",
		c.backups, c.restores, c.lost, c.adopted, c.broken, c.cutShort, c.returned, c.claimed, c.ways, w.model.beaten)
	for what, n := range map[string]int{
		"given": c.given, "released": c.released, "answers": c.answers, "races": c.races, "grown": c.grown, "yielded": c.yielded,
		"backups": c.backups, "restores": c.restores, "returned": c.returned, "zombies": c.zombies, "renamed": c.renamed,
	} {
		if n == 0 {
			t.Errorf("the walk met no %s", what)
		}
	}
}

func (w *world) fail(err error) {
	w.t.Helper()
	for _, a := range w.agents {
		w.t.Logf("%s up %v lease %v held %.4s.%d at %d deleted %.4s, stored %v, history %v", a.name, a.up, a.lease, a.epoch, a.revision, a.at, a.deleted, w.store.leases[a.name], a.history)
	}
	w.t.Fatalf("seed %d, operation %d, restores %d, lost %d, adopted %d, epoch %.4s: %v\n%v", w.seed, w.done, w.restores, w.lost, w.adopted, w.epoch, err, w.model)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.fail(fmt.Errorf("unexpected: %w", err))
	}
}
