package walk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"

	"github.com/weft-net/weft/server/backup"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// spy is a store that sees each transaction, and goes wrong when it is told to.
type spy struct {
	backup.Store
	revision int64
	leases   map[string][]netip.Prefix // never changed, only replaced: agents keep it
	config   kind.ClusterConfigSpec
	wrote    map[string]bool // nodes whose leases, or what is known of them, were written since it was cleared
	before   error           // of the next transaction: it is not written
	after    error           // it is, and nobody learns of it
	skip     int             // transactions until then
	twice    error           // what was found
}

func newSpy(s backup.Store) *spy {
	return &spy{Store: s, leases: map[string][]netip.Prefix{}, wrote: map[string]bool{}}
}

var (
	errLost  = errors.New("the answer was lost")
	errCrash = errors.New("crash")
)

// Commit implements store.Store.
func (s *spy) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	if s.skip > 0 && (s.before != nil || s.after != nil) {
		s.skip--
		revision, err := s.Store.Commit(ctx, txn)
		if err == nil {
			s.see(txn, revision)
		}
		return revision, err
	}
	if err := s.before; err != nil {
		s.before = nil
		return 0, err
	}
	revision, err := s.Store.Commit(ctx, txn)
	if err != nil {
		return revision, err
	}
	s.see(txn, revision)
	if err := s.after; err != nil {
		s.after = nil
		return 0, err
	}
	return revision, nil
}

// see keeps the leases as they are stored.
func (s *spy) see(txn store.Txn, revision int64) {
	s.revision = revision
	var changed map[string][]netip.Prefix
	for _, w := range txn.Then {
		if node, ok := strings.CutPrefix(w.Key, store.Words); ok {
			s.wrote[node] = true
		}
		k, _, name, ok := kind.ParseKey(w.Key)
		if ok && k == kind.ClusterConfig && w.Value != nil {
			if _, err := kind.Decode(w.Value, &s.config); err != nil {
				s.twice = err
			}
		}
		if !ok || k != kind.Lease {
			continue
		}
		s.wrote[name] = true
		if changed == nil {
			changed = maps.Clone(s.leases)
		}
		delete(changed, name)
		if w.Value == nil {
			continue
		}
		var spec kind.LeaseSpec
		if _, err := kind.Decode(w.Value, &spec); err != nil {
			s.twice = err
		}
		changed[name] = spec.Prefixes
	}
	if changed != nil {
		s.leases = changed
		s.check()
	}
}

// check looks for a prefix that is stored twice.
func (s *spy) check() {
	owners := make(map[block]string, len(s.leases))
	for node, prefixes := range s.leases {
		bs, err := readBlocks(prefixes)
		if err != nil {
			s.twice = err
		}
		for _, b := range bs {
			if other, twice := owners[b]; twice {
				s.twice = fmt.Errorf("the store has %v for %s and for %s", b, node, other)
			}
			owners[b] = node
		}
	}
}

// told tells whether the store says that a node was told of its lease: what is only
// kept for it, is said so.
func (s *spy) told(ctx context.Context, node string) bool {
	e, err := s.Get(ctx, store.Words+node)
	return errors.Is(err, store.ErrNotFound) || strings.Contains(string(e.Value), `"told":true`)
}

func (s *spy) heal() { s.before, s.after, s.skip = nil, nil, 0 }
