package lease

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	"pgregory.net/rapid"
)

// TestNoPrefixTwice walks at random: two servers over one store acquire, release,
// reserve and change ranges at the same time, crash, lose races and answers. A
// model that shares no code with the allocator reads each transaction as it is
// written.
func TestNoPrefixTwice(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("WEFT_SEED"), 10, 64); err == nil {
		seed = s
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWalk(t, rand.New(rand.NewPCG(seed, 1)), 8)
		for w.done < walkOps && !t.Failed() {
			w.round()
		}
		t.Logf("seed %d: %d operations, %d transactions, %d given, %d refused full, %d races lost, %d answers lost, %d crashes",
			seed, w.done, w.txns, w.given, w.full, w.races, w.lost, w.crashes)
		if w.given == 0 || w.full == 0 || w.races == 0 || w.lost == 0 || w.crashes == 0 {
			t.Error("the walk did not meet all that it should")
		}
	})
}

// TestNoPrefixTwiceShrinks is the same walk, one operation at a time and drawn, so
// that a failure shrinks.
func TestNoPrefixTwiceShrinks(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWalk(r, rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 2)), 1)
		for range rapid.IntRange(1, 60).Draw(r, "rounds") {
			w.round()
		}
	})
}

type failer interface {
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Helper()
}

type walk struct {
	t      failer
	store  *storetest.Memory
	allocs [2]*Allocator

	mu     sync.Mutex // the hooks run under the store's lock, operations do not
	rand   *rand.Rand
	ranges []netip.Prefix
	masks  [2]int
	held   map[string][]netip.Prefix
	freed  map[netip.Prefix]freed // and not given since: must rest
	parted map[netip.Prefix]freed // and a part of it given since: the rest of it may rest
	until  map[holder]int         // number of the transaction that freed it
	calm   bool
	atOnce int // operations
	now    time.Time

	done, txns, given, full, races, lost, crashes int
}

type freed struct {
	node string
	at   time.Time
}

type holder struct {
	node   string
	prefix netip.Prefix
}

var errLost = errors.New("the answer got lost")

func newWalk(t failer, r *rand.Rand, atOnce int) *walk {
	w := &walk{
		t: t, store: storetest.New(), rand: r, atOnce: atOnce, now: time.Unix(1_800_000_000, 0),
		held: map[string][]netip.Prefix{}, freed: map[netip.Prefix]freed{}, parted: map[netip.Prefix]freed{}, until: map[holder]int{},
	}
	w.store.Inject(storetest.Fault{Before: w.before, After: w.after})
	for i := range w.allocs {
		w.allocs[i] = New(Config{Store: w.store, Now: w.clock})
	}
	w.calm = true
	w.configure(context.Background(), w.allocs[0], 0)
	w.calm = false
	return w
}

func (w *walk) roll(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rand.IntN(n)
}

func (w *walk) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *walk) transactions() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.txns
}

func (w *walk) wait(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *walk) ago(t time.Time) time.Duration { return w.now.Sub(t) }

func (w *walk) before(store.Txn) error {
	if w.calm || w.roll(12) > 0 {
		return nil
	}
	w.races++
	return store.ErrConflict
}

// after is the model: what was written just now.
func (w *walk) after(txn store.Txn) error {
	w.mu.Lock()
	w.txns++
	for _, write := range txn.Then {
		k, _, name, ok := kind.ParseKey(write.Key)
		switch {
		case !ok:
		case k == kind.ClusterConfig:
			var spec kind.ClusterConfigSpec
			if _, err := kind.Decode(write.Value, &spec); err != nil {
				w.t.Errorf("%v", err)
			}
			w.ranges, w.masks = spec.ClusterCIDRs, [2]int{spec.NodeCIDRMaskSize4, spec.NodeCIDRMaskSize6}
		case k == kind.Lease:
			var spec kind.LeaseSpec
			if write.Value != nil {
				if _, err := kind.Decode(write.Value, &spec); err != nil {
					w.t.Errorf("%v", err)
				}
			}
			w.wrote(name, spec.Prefixes)
		}
	}
	w.mu.Unlock()
	if w.calm || w.roll(15) > 0 {
		return nil
	}
	w.lost++
	return errLost
}

func (w *walk) wrote(node string, now []netip.Prefix) {
	for _, p := range now {
		for other, theirs := range w.held {
			if other != node && slices.ContainsFunc(theirs, p.Overlaps) {
				w.t.Errorf("%v was given to %s while %s holds %v", p, node, other, theirs)
			}
		}
		if !slices.ContainsFunc(w.ranges, func(r netip.Prefix) bool { return r.Overlaps(p) && r.Bits() <= p.Bits() }) {
			w.t.Errorf("%v of %s lies in none of %v", p, node, w.ranges)
		}
	}
	for _, p := range w.held[node] {
		if !slices.Contains(now, p) {
			w.freed[p] = freed{node, w.now}
			w.until[holder{node, p}] = w.txns
		}
	}
	for _, p := range now {
		if slices.Contains(w.held[node], p) {
			continue
		}
		w.given++
		for q, f := range w.freed {
			if reserved := strings.HasPrefix(node, "r"); !q.Overlaps(p) || reserved || f.node == node || w.ago(f.at) > ipam.RestPrefix-time.Second {
				continue
			}
			if free, ok := w.unrested(p); ok {
				w.t.Errorf("%v, freed by %s %v ago, was given to %s though %v is free", q, f.node, w.ago(f.at), node, free)
			}
		}
		maps.DeleteFunc(w.freed, func(q netip.Prefix, f freed) bool {
			if q.Overlaps(p) && q.Bits() < p.Bits() {
				w.parted[q] = f
			}
			return q.Overlaps(p)
		})
	}
	w.held[node] = now
}

// unrested finds a free prefix of the family and length of p that does not rest,
// by looking at each.
func (w *walk) unrested(p netip.Prefix) (netip.Prefix, bool) {
	for _, r := range w.ranges {
		for a := r.Masked().Addr(); r.Contains(a) && a.Is4() == p.Addr().Is4(); {
			q := netip.PrefixFrom(a, p.Bits())
			taken := q.Overlaps(p)
			for _, theirs := range w.held {
				taken = taken || slices.ContainsFunc(theirs, q.Overlaps)
			}
			for _, list := range []map[netip.Prefix]freed{w.freed, w.parted} {
				for f, when := range list {
					taken = taken || f.Overlaps(q) && w.ago(when.at) < ipam.RestPrefix+time.Second
				}
			}
			if !taken {
				return q, true
			}
			a = ipam.Last(q).Next()
		}
	}
	return netip.Prefix{}, false
}

// round does some operations at once, then lets time pass.
func (w *walk) round() {
	var wg sync.WaitGroup
	for range 1 + w.roll(w.atOnce) {
		a, op, n := w.allocs[w.roll(2)], w.roll(40), w.roll(14)
		w.done++
		wg.Go(func() { w.operate(a, op, n) })
	}
	wg.Wait()
	if w.roll(20) == 0 { // one server crashes and comes back
		w.allocs[w.roll(2)] = New(Config{Store: w.store, Now: w.clock})
		w.crashes++
	}
	switch w.roll(10) {
	case 0:
		w.wait(ipam.RestPrefix)
	case 1, 2, 3:
		w.wait(time.Duration(w.roll(120)) * time.Second)
	}
	if w.roll(10) == 0 {
		w.agree()
	}
}

func (w *walk) operate(a *Allocator, op, n int) {
	ctx := context.Background()
	node := fmt.Sprintf("n%d", n)
	var err error
	switch {
	case op < 24:
		var got []netip.Prefix
		asked := w.transactions()
		if got, err = a.Acquire(ctx, node, w.carried()); err == nil {
			w.answered(node, got, asked)
		}
	case op < 36:
		err = a.Release(ctx, node)
	case op < 39:
		w.reserve(ctx, a, n)
	default:
		w.configure(ctx, a, w.roll(4))
	}
	if errors.Is(err, ipam.ErrFull) {
		w.mu.Lock()
		w.full++
		w.mu.Unlock()
	} else if err != nil && !errors.Is(err, errLost) && !errors.Is(err, store.ErrConflict) {
		w.t.Errorf("%s: %v", node, err)
	}
}

// answered: what a caller is told was the node's at some moment since it asked.
func (w *walk) answered(node string, got []netip.Prefix, asked int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range got {
		if !slices.Contains(w.held[node], p) && w.until[holder{node, p}] <= asked {
			w.t.Errorf("%s was told %v, and does not hold it", node, p)
		}
	}
}

// carried is now and then something that a node claims to hold.
func (w *walk) carried() []netip.Prefix {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rand.IntN(3) > 0 || len(w.ranges) == 0 {
		return nil
	}
	r := w.ranges[w.rand.IntN(len(w.ranges))]
	b := r.Addr().AsSlice()
	b[len(b)-1] += byte(w.rand.IntN(128))
	a, _ := netip.AddrFromSlice(b)
	p, _ := a.Prefix(a.BitLen() - 2 - w.rand.IntN(3))
	return []netip.Prefix{p}
}

// reserve writes a Lease as an operator does.
func (w *walk) reserve(ctx context.Context, a *Allocator, n int) {
	name := fmt.Sprintf("r%d", n%4)
	prefixes := w.carried()
	if len(prefixes) == 0 {
		return
	}
	w.write(ctx, a, kind.Lease, name, kind.LeaseSpec{Node: name, Prefixes: prefixes})
}

// configure changes ranges and masks as an operator does.
func (w *walk) configure(ctx context.Context, a *Allocator, n int) {
	spec := kind.ClusterConfigSpec{
		ClusterCIDRs: [][]netip.Prefix{
			prefixes("10.42.0.0/25 fd42::/121"),
			prefixes("fd42::/121 10.42.0.0/25 10.43.0.0/26"),
			prefixes("10.42.0.0/24 fd42::/120"),
			prefixes("10.42.0.0/26 fd42::/122"), // too small, as a rule
		}[n],
		NodeCIDRMaskSize4: 28 + w.roll(2), NodeCIDRMaskSize6: 124 + w.roll(2),
	}
	if err := spec.Validate(); err != nil {
		w.t.Fatalf("%v", err)
	}
	w.write(ctx, a, kind.ClusterConfig, kind.DefaultName, spec.WithDefaults())
}

func (w *walk) write(ctx context.Context, a *Allocator, k, name string, spec any) {
	value, err := kind.Encode(k, kind.Metadata{Name: name}, spec)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	var o kind.Object
	if o, err = kind.Decode(value, &struct{}{}); err != nil {
		w.t.Fatalf("%v", err)
	}
	txn, err := a.Guard(ctx, []kind.Object{o}, nil)
	if err != nil {
		return // refused, as it may be
	}
	key := kind.Key(k, "", name)
	e, err := w.store.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		w.t.Fatalf("%v", err)
	}
	txn.If = append(txn.If, store.Cond{Key: key, Revision: e.Revision})
	txn.Then = append(txn.Then, store.Write{Key: key, Value: value})
	if _, err = w.store.Commit(ctx, txn); err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, errLost) {
		w.t.Errorf("%s %s: %v", k, name, err)
	}
}

// remembered compares what an allocator remembers with what it would read.
func (w *walk) remembered(a *Allocator) {
	b := <-a.turn
	defer func() { a.turn <- b }()
	ctx := context.Background()
	guard, err := revision(ctx, w.store, guardKey)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	if b == nil || b.guard != guard {
		return
	}
	fresh, err := read(ctx, w.store, nil, w.clock(), a.log)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	b.ripen(w.clock())
	if len(b.held) != len(fresh.held) || !maps.Equal(b.rests, fresh.rests) {
		w.t.Errorf("remembered are %d leases and rests %v, read are %d and %v", len(b.held), b.rests, len(fresh.held), fresh.rests)
	}
	for i, s := range b.spaces {
		if s.Len() != fresh.spaces[i].Len() || s.Resting() != fresh.spaces[i].Resting() {
			w.t.Errorf("%v: remembered are %d taken, %d resting, read are %d and %d", s.CIDR(), s.Len(), s.Resting(), fresh.spaces[i].Len(), fresh.spaces[i].Resting())
		}
	}
}

// agree compares the model with what is stored.
func (w *walk) agree() {
	for _, a := range w.allocs {
		w.remembered(a)
	}
	entries, _, err := w.store.List(context.Background(), kind.Key(kind.Lease, "", ""))
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	for _, e := range entries {
		var spec kind.LeaseSpec
		if _, err := kind.Decode(e.Value, &spec); err != nil {
			w.t.Fatalf("%v", err)
		}
		if !slices.Equal(spec.Prefixes, w.held[spec.Node]) {
			w.t.Errorf("%s holds %v, stored is %v", spec.Node, w.held[spec.Node], spec.Prefixes)
		}
	}
}
