package lease

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Where the room keeps what is not an operator's.
const (
	root     = store.Leases
	guardKey = root + "guard" // the number of transactions so far
	restRoot = root + "rest/" // what was freed: <prefix>, with _ for /
)

var configKey = kind.Key(kind.ClusterConfig, "", kind.DefaultName)

// book is all that a decision needs, as of one revision of the guard. Decisions
// change it; when their transaction fails it is thrown away.
type book struct {
	guard      int64 // revision of the guard key
	generation uint64
	config     int64 // revision of the ClusterConfig; 0 if there is none
	settling   bool  // nothing new is given
	disputes   map[string]dispute
	past       past
	was        map[string]holding // before they were changed in the book, and not written yet
	down       bool               // new ones are given from the upper end
	touched    []string           // nodes of was, in the order of decisions
	spec       kind.ClusterConfigSpec
	spaces     []*ipam.Space // one a cluster CIDR, in their order
	held       map[string]holding
	loose      []netip.Prefix // held, but in no space: of ranges that are gone
	rests      map[netip.Prefix]rested
	garbage    []string         // keys of rests that are over
	broken     map[string]error // leases that cannot be read, by node: nobody knows what they hold
}

// holding is one node's lease as stored.
type holding struct {
	revision int64 // 0 while it is not stored
	meta     kind.Metadata
	prefixes []netip.Prefix
	draining []netip.Prefix        // of prefixes
	said     word                  // that it rests on
	words    map[netip.Prefix]word // of those that rest on another; never changed, only replaced
	told     bool                  // in this epoch its node was told of it, or told us
}

// rested is the record of one freed prefix.
type rested struct {
	Node      string `json:"node"` // that had it
	SinceUnix int64  `json:"sinceUnix"`

	old bool // the restored store brought it
}

func (r rested) since() time.Time { return time.Unix(r.SinceUnix, 0) }

// read makes the book. The guard is read first: what is newer than it in the rest
// makes the transaction lose, so nothing torn is ever decided from. Leases that
// are known at their revision are not decoded again.
func read(ctx context.Context, s Store, known map[string]holding, now time.Time, log *slog.Logger) (*book, error) {
	mine, _, err := s.List(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	config, err := s.Get(ctx, configKey)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("lease: %w", err)
	}
	leases, _, err := s.List(ctx, kind.Key(kind.Lease, "", ""))
	if err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	settling, err := revision(ctx, s, store.Settling)
	if err != nil {
		return nil, err
	}
	disputes, err := readDisputes(ctx, s)
	if err != nil {
		return nil, err
	}
	past, err := readPast(ctx, s)
	if err != nil {
		return nil, err
	}
	direction, err := s.Get(ctx, store.Direction)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("lease: %w", err)
	}
	b := &book{settling: settling != 0, disputes: disputes, past: past, was: map[string]holding{}, down: string(direction.Value) == "down", config: config.Revision, held: map[string]holding{}, rests: map[netip.Prefix]rested{}, broken: map[string]error{}}
	if config.Revision > 0 {
		if _, err := kind.Decode(config.Value, &b.spec); err != nil {
			return nil, fmt.Errorf("lease: %w", err)
		}
	}
	b.spec = b.spec.WithDefaults()
	for _, cidr := range b.spec.ClusterCIDRs {
		b.spaces = append(b.spaces, ipam.NewSpace(cidr))
	}
	for _, e := range leases {
		b.hold(e, known, log)
	}
	return b, b.readMine(mine, now, log)
}

// hold enters a stored lease.
func (b *book) hold(e store.Entry, known map[string]holding, log *slog.Logger) {
	_, _, node, _ := kind.ParseKey(e.Key)
	h, ok := known[node]
	if !ok || h.revision != e.Revision {
		var spec kind.LeaseSpec
		o, err := kind.Decode(e.Value, &spec)
		if err != nil {
			b.broken[node] = err
		}
		h = holding{revision: e.Revision, meta: o.Metadata, prefixes: spec.Prefixes, draining: spec.Draining}
	}
	v := b.past.standing(node, e.Revision)
	h.said, h.told, h.words = v.word, v.Told, v.Words
	b.held[node] = h
	for _, p := range h.prefixes {
		space, ok := b.space(p)
		if !ok {
			b.loose = append(b.loose, p)
			continue
		}
		if err := space.Take(p); err != nil { // cannot be, but then it is not given a third time
			b.loose = append(b.loose, p)
			log.Error("lease overlaps another", note.Node, node, note.Lease, p, note.Do, "delete one of the two nodes")
		}
	}
}

// readable refuses to decide anything while a lease cannot be read, but for those
// that are about to be mended.
func (b *book) readable(but ...string) error {
	for _, node := range slices.Sorted(maps.Keys(b.broken)) {
		if !slices.Contains(but, node) {
			return kind.InUseError{Object: kind.Lease + "/" + node, Problem: fmt.Sprintf(
				"the stored lease cannot be read (%v), so nobody knows which prefixes are free; apply it again, or delete it: weft delete lease %s", b.broken[node], node)}
		}
	}
	return nil
}

// readMine enters the guard and what rests. Of two rests that overlap the younger
// counts: a reservation may have used a part of what rested.
func (b *book) readMine(entries []store.Entry, now time.Time, log *slog.Logger) error {
	found := map[netip.Prefix]rested{}
	for _, e := range entries {
		if e.Key == guardKey {
			b.guard = e.Revision
			n, err := strconv.ParseUint(string(e.Value), 10, 64)
			if err != nil {
				return fmt.Errorf("lease: %s holds %.40q, not a number; delete the key", e.Key, e.Value)
			}
			b.generation = n
			continue
		}
		p, r, err := parseRest(e)
		if err != nil {
			log.Warn("record of a freed prefix was not readable", note.Err, err)
			b.garbage = append(b.garbage, e.Key)
			continue
		}
		if r.since().After(now) { // written by a clock ahead of ours: it rests from now
			r.SinceUnix = now.Unix()
		}
		r.old = e.Revision <= b.past.at
		found[p] = r
	}
	youngest := func(p, q netip.Prefix) int {
		return cmp.Or(cmp.Compare(found[q].SinceUnix, found[p].SinceUnix), p.Compare(q))
	}
	for _, p := range slices.SortedFunc(maps.Keys(found), youngest) {
		b.rest(p, found[p])
	}
	b.ripen(now)
	return nil
}

func parseRest(e store.Entry) (netip.Prefix, rested, error) {
	var r rested
	p, err := netip.ParsePrefix(strings.ReplaceAll(strings.TrimPrefix(e.Key, restRoot), "_", "/"))
	if err == nil {
		err = json.Unmarshal(e.Value, &r)
	}

	if err != nil {
		return netip.Prefix{}, rested{}, fmt.Errorf("%s: %w", e.Key, err)
	}
	return p, r, nil
}

func restKey(p netip.Prefix) string {
	return restRoot + strings.ReplaceAll(p.String(), "/", "_")
}

// rest holds back a freed prefix, also one of a range that is gone for now. One
// that is held again, or rests in a younger one, is over.
func (b *book) rest(p netip.Prefix, r rested) {
	space, ok := b.space(p)
	if ok && space.Take(p) != nil {
		b.garbage = append(b.garbage, restKey(p))
		return
	}
	if ok {
		space.Rest(p, r.since())
	}
	b.rests[p] = r
}

// ripen ends the rests that have lasted.
func (b *book) ripen(now time.Time) {
	for p, r := range b.rests {
		if now.Sub(r.since()) >= ipam.RestPrefix {
			b.wake(p)
		}
	}
}

// wake ends one rest.
func (b *book) wake(p netip.Prefix) {
	if space, ok := b.space(p); ok {
		space.Free(p)
	}
	delete(b.rests, p)
	b.garbage = append(b.garbage, restKey(p))
}

// space is the one that a prefix lies in.
func (b *book) space(p netip.Prefix) (*ipam.Space, bool) {
	i := slices.IndexFunc(b.spaces, func(s *ipam.Space) bool { return ipam.Contains(s.CIDR(), p) })
	if i < 0 {
		return nil, false
	}
	return b.spaces[i], true
}

// families of the cluster, in its order.
func (b *book) families() []bool { return intent.Families(b.spec.ClusterCIDRs) }

// txn is the frame of every transaction: only from the state that this book was
// read from, and never twice from the same.
func (b *book) txn() store.Txn {
	return store.Txn{
		If: []store.Cond{{Key: guardKey, Revision: b.guard}, {Key: configKey, Revision: b.config}},
		Then: []store.Write{
			{Key: guardKey, Value: strconv.AppendUint(nil, b.generation+1, 10)},
		},
	}
}

// sweep adds the deletion of rests that are over, as many as fit.
func (b *book) sweep(txn store.Txn) store.Txn {
	n := min(len(b.garbage), store.MaxOps-len(txn.Then))
	for _, key := range b.garbage[:n] {
		if !slices.ContainsFunc(txn.Then, func(w store.Write) bool { return w.Key == key }) {
			txn.Then = append(txn.Then, store.Write{Key: key})
		}
	}
	b.garbage = b.garbage[n:]
	return txn
}

// committed brings the revisions up to what a transaction of this book wrote.
func (b *book) committed(txn store.Txn, rev int64) {
	b.guard, b.generation = rev, b.generation+1
	for _, w := range txn.Then {
		k, _, name, ok := kind.ParseKey(w.Key)
		if h, held := b.held[name]; ok && k == kind.Lease && held {
			h.revision = rev
			b.held[name] = h
		}
	}
}
