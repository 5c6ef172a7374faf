package walk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/server/backup"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/lease"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
)

// operations of the walk; WEFT_WALK says another number (make soak: a million),
// WEFT_SEED a seed. Not walked: restores that begin while nodes of the last one are
// still away, and nodes that are deleted while they are away.
const operations = 30_000

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
	seed := number(t, "WEFT_SEED", uint64(time.Now().UnixNano()))
	most := int(number(t, "WEFT_WALK", operations))
	began := time.Now()
	var w *world
	synctest.Test(t, func(t *testing.T) {
		w = found(t, rand.New(rand.NewPCG(seed, 1)))
		for w.done = 0; w.done < most && !t.Failed(); w.done++ {
			w.step()
		}
	})
	took := time.Since(began)
	t.Logf("seed %d: %d operations in %v, %.0f a second: %d leases given, %d released, %d full, %d answers lost, %d races, %d servers crashed, %d leaders changed, %d backups, %d restores (%d crashed), %d returned, %d claimed, %d in each other's way",
		seed, w.done, took.Round(time.Millisecond), float64(w.done)/took.Seconds(), w.given, w.released, w.full, w.lost, w.races, w.crashes, w.leaders, w.backups, w.restores, w.broken, w.returned, w.claimed, w.ways)
	for what, n := range map[string]int{"given": w.given, "released": w.released, "lost": w.lost, "races": w.races, "backups": w.backups, "restores": w.restores, "returned": w.returned} {
		if n == 0 {
			t.Errorf("the walk met no %s", what)
		}
	}
}

// agent is a node: what is on its disk, and whether somebody runs it.
type agent struct {
	name  string
	up    bool
	lease []netip.Prefix
	epoch string

	history []string
}

func (a *agent) note(w *world, what string) {
	a.history = append(a.history, fmt.Sprintf("%d:%s@%.4s%v", w.done, what, w.epoch, a.lease))
	a.history = a.history[max(0, len(a.history)-12):]
}

// world is servers, nodes, a store and a model.
type world struct {
	t      *testing.T
	r      *rand.Rand
	store  *storetest.Memory
	room   *backup.Room
	locals []*lease.Allocator // of servers, leaders or not
	learns *lease.Allocator
	leader int
	fence  store.Cond // of the leader
	epoch  string
	skew   time.Duration
	agents []*agent
	model  *model
	files  []string

	done, given, released, full, lost, races, crashes, leaders, backups, restores, broken, returned, claimed, ways int
}

const (
	servers = 3
	nodes   = 120
)

func found(t *testing.T, r *rand.Rand) *world {
	w := &world{t: t, r: r, store: storetest.New(), model: newModel()}
	w.room = backup.New(backup.Config{Store: w.store, Folder: backup.Folder{Path: t.TempDir()}, Keep: 5, Server: "s1", Version: "walk", Now: w.now})
	config, err := kind.Encode(kind.ClusterConfig, kind.Metadata{Name: kind.DefaultName}, kind.ClusterConfigSpec{ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}})
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

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("operation %d: %v", w.done, err)
	}
}

func (w *world) now() time.Time { return time.Now().Add(w.skew) }

// assemble makes servers of the epoch that the store holds.
func (w *world) assemble() {
	w.store.Inject(storetest.Fault{})
	e, err := w.store.Get(w.t.Context(), store.Fence)
	w.must(err)
	w.epoch = string(e.Value)
	w.locals = nil
	for range servers {
		w.locals = append(w.locals, w.local(e.Revision))
	}
	w.learns = lease.New(lease.Config{Store: store.Fenced(w.store, e.Revision), Now: w.now})
	w.elect()
}

func (w *world) local(fence int64) *lease.Allocator {
	i := len(w.locals)
	return lease.New(lease.Config{Store: store.Fenced(w.store, fence), Now: w.now, Fence: func() (store.Cond, bool) {
		return w.fence, i == w.leader // one that was deposed finds out by its write
	}})
}

// elect makes another server the leader: writes of the one before lose.
func (w *world) elect() {
	w.store.Inject(storetest.Fault{})
	key := store.Election + "leader"
	rev, err := w.store.Commit(w.t.Context(), store.Txn{Then: []store.Write{{Key: key, Value: []byte{byte('0' + w.r.IntN(10))}}}})
	w.must(err)
	w.fence, w.leader = store.Cond{Key: key, Revision: rev}, w.r.IntN(servers)
	w.leaders++
}

func (w *world) step() {
	n := w.agents[w.r.IntN(nodes)]
	switch roll := w.r.IntN(10_000); {
	case roll < 6000:
		w.ask(n)
	case roll < 7500:
		w.release(n)
	case roll < 8400:
		n.up = !n.up || n == w.agents[0] // one is always there, and knows all
	case roll < 8700:
		w.fault()
	case roll < 8900:
		w.crash()
	case roll < 9100:
		w.elect()
	case roll < 9960:
		w.skew += time.Duration(w.r.Int64N(int64(40*time.Minute))) - 15*time.Minute
		time.Sleep(time.Duration(w.r.Int64N(int64(time.Minute)))) // the bubble's
	case roll < 9990:
		w.save()
	default:
		w.restore()
	}
}

// fault lets the next transaction lose its race, or its answer.
func (w *world) fault() {
	lost := w.r.IntN(2) == 0
	fail := func(err error, n *int) func(store.Txn) error {
		spent := false
		return func(store.Txn) error {
			if spent {
				return nil
			}
			spent = true
			*n++
			return err
		}
	}
	if lost {
		w.store.Inject(storetest.Fault{After: fail(errors.New("the answer was lost"), &w.lost)})
	} else {
		w.store.Inject(storetest.Fault{Before: fail(store.ErrConflict, &w.races)})
	}
}

func (w *world) crash() {
	e, err := w.store.Get(w.t.Context(), store.Fence)
	w.must(err)
	i := w.r.IntN(servers)
	kept := w.locals
	w.locals = slices.Clone(kept[:i])
	fresh := w.local(e.Revision)
	w.locals = kept
	w.locals[i] = fresh
	w.crashes++
}

// ask has an agent come to the servers.
func (w *world) ask(n *agent) {
	if !n.up {
		return
	}
	var got []netip.Prefix
	var err error
	if n.epoch != "" && n.epoch != w.epoch {
		got, err = w.learns.Return(w.t.Context(), kind.Claim{Node: n.name, Prefixes: n.lease, Epoch: n.epoch, Revision: w.store.Revision()})
		w.returned++
	} else {
		got, err = w.locals[w.leader].Acquire(w.t.Context(), n.name, n.lease)
	}
	var claim kind.ClaimError
	switch {
	case err == nil:
		if err := w.model.gives(n.name, got); err != nil {
			w.t.Logf("restores %d epoch %s\n%v", w.restores, w.epoch, w.store)
			for _, a := range w.agents {
				w.t.Logf("%s up %v lease %v epoch %s history %v", a.name, a.up, a.lease, a.epoch, a.history)
			}
			w.t.Fatalf("operation %d: %v\n%v", w.done, err, w.model)
		}
		if n.lease == nil {
			w.given++
		}
		n.lease, n.epoch = got, w.epoch
		n.note(w, "has")
	case errors.As(err, &claim):
		w.ways++
		n.note(w, "way:"+claim.Owner+fmt.Sprint(claim.Disputed))
		w.resolve(claim)
	case errors.Is(err, ipam.ErrFull):
		w.full++
	}
}

// resolve is what an operator does about a ghost: a node that the backup brought
// back and that is gone. One that is there has to come first.
func (w *world) resolve(claim kind.ClaimError) {
	if claim.Disputed { // it was deleted after the backup, and came anew
		_ = w.locals[w.leader].Release(w.t.Context(), claim.Node)
		return
	}
	i := slices.IndexFunc(w.agents, func(a *agent) bool { return a.name == claim.Owner })
	if i < 0 || w.agents[i].lease != nil {
		return
	}
	_ = w.locals[w.leader].Release(w.t.Context(), claim.Owner)
}

// release is an operator's: the node is gone once that was answered.
func (w *world) release(n *agent) {
	if n.lease == nil || n.epoch != w.epoch {
		return
	}
	w.model.takes(n.name) // its agent was told to clean up first
	n.note(w, "released")
	n.lease, n.epoch = nil, ""
	for range 3 {
		if w.locals[w.leader].Release(w.t.Context(), n.name) == nil {
			w.released++
			return
		}
	}
}

func (w *world) save() {
	w.store.Inject(storetest.Fault{})
	f, err := w.room.Save(w.t.Context(), backup.ByHand)
	w.must(err)
	w.must(w.room.Folder.Prune(backup.ByHand, 5))
	if !slices.Contains(w.files, f.Name) {
		w.files = append(w.files, f.Name)
	}
	w.files = w.files[max(0, len(w.files)-5):]
	w.backups++
}

// restore brings a backup back, crashes on the way or not, and lets the fabric
// settle: agents that run return, and speak for those that do not.
func (w *world) restore() {
	w.store.Inject(storetest.Fault{})
	if len(w.files) == 0 {
		return
	}
	if !w.quiet() {
		return
	}
	m, err := w.room.Begin(w.t.Context(), w.files[len(w.files)-1], "walk")
	w.must(err)
	for _, l := range w.locals { // a server that has not noticed decides nothing any more
		_, err := l.Acquire(w.t.Context(), "late", nil)
		if err == nil {
			w.t.Fatalf("operation %d: a server of the old epoch leased something", w.done)
		}
	}
	left := w.r.IntN(6)
	w.store.Inject(storetest.Fault{Before: func(store.Txn) error {
		if left--; left == 0 {
			w.broken++
			return errors.New("crash")
		}
		return nil
	}})
	for err = w.room.Finish(w.t.Context(), m); err != nil; err = w.room.Finish(w.t.Context(), m) {
		if _, marked, err := backup.Marked(w.t.Context(), w.store); err != nil || !marked {
			w.must(err)
			break
		}
	}
	w.restores++
	w.assemble()
	w.settle()
}

// quiet says whether the last restore is over for everybody: all have come, and
// who was in whose way is settled. One that begins before is not walked yet. Some
// agents are away when it begins.
func (w *world) quiet() bool {
	for _, n := range w.agents {
		n.up = true
	}
	for range 3 {
		for _, n := range w.agents {
			w.ask(n)
		}
	}
	for i, n := range w.agents {
		if n.lease != nil && n.epoch != w.epoch {
			return false
		}
		n.up = i == 0 || w.r.IntN(4) > 0
	}
	return true
}

func (w *world) settle() {
	var claims []kind.Claim
	for _, n := range w.agents {
		if n.lease != nil && !n.up {
			claims = append(claims, kind.Claim{Node: n.name, Prefixes: n.lease, Epoch: n.epoch, Revision: w.store.Revision()})
		}
	}
	w.r.Shuffle(len(claims), func(i, j int) { claims[i], claims[j] = claims[j], claims[i] })
	_, refused, err := w.learns.Adopt(w.t.Context(), claims)
	w.must(err)
	for _, n := range w.agents {
		if n.lease != nil && !n.up {
			n.note(w, "claimed")
			for _, r := range refused {
				if r.Node == n.name {
					n.note(w, fmt.Sprint("refused ", r))
				}
			}
		}
	}
	w.claimed += len(claims)
	for range 2 { // who was in the way of whom has come by then
		for _, i := range w.r.Perm(nodes) {
			w.ask(w.agents[i])
		}
	}
	back := func(context.Context) (map[string]bool, error) { return map[string]bool{}, nil }
	w.must(w.learns.Settle(w.t.Context(), back))
}
