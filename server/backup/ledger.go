package backup

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// ledger is who has which prefix in a store that a backup is brought back into. That
// is no intention but a fact, and the store knows it better than any backup: a
// restore only adds to it what nobody has.
type ledger struct {
	leases map[string][]byte // as stored, by node
	taken  []netip.Prefix
}

// readLedger reads it. A lease that cannot be read is left to the backup.
func readLedger(ctx context.Context, s Store) (ledger, error) {
	l := ledger{leases: map[string][]byte{}}
	entries, _, err := s.List(ctx, kind.Key(kind.Lease, "", ""))
	if err != nil {
		return ledger{}, fmt.Errorf("backup: %w", err)
	}
	for _, e := range entries {
		var spec kind.LeaseSpec
		if _, err := kind.Decode(e.Value, &spec); err != nil {
			continue
		}
		_, _, node, _ := kind.ParseKey(e.Key)
		l.leases[node] = e.Value
		l.taken = append(l.taken, spec.Prefixes...)
	}
	return l, nil
}

// keeps tells whether a restore leaves a key as it is, because it is of the ledger,
// or is of a node that joined after the backup: with its lease it stays reachable,
// and in the fabric.
func (l ledger) keeps(key string, c contents) bool {
	if slices.ContainsFunc([]string{store.Leases, store.Words, store.Disputes}, func(root string) bool { return strings.HasPrefix(key, root) }) {
		return true
	}
	node, ofNode := strings.CutPrefix(key, store.Identity+"node/")
	if k, _, name, ok := kind.ParseKey(key); ok {
		if k == kind.Lease {
			return l.leases[name] != nil
		}
		node, ofNode = name, k == kind.Node || k == kind.Report
	}
	if !ofNode || l.leases[node] == nil {
		return false
	}
	_, known := c.values[kind.Key(kind.Lease, "", node)]
	return !known
}

// add is what a backup brings: all but leases, and of those what nobody has. Each
// comes with the point of history that it is known from.
func (l ledger) add(c contents) (map[string][]byte, error) {
	values := maps.Clone(c.values)
	for key, value := range c.values {
		k, _, node, ok := kind.ParseKey(key)
		if !ok || k != kind.Lease || l.leases[node] != nil {
			continue
		}
		var spec kind.LeaseSpec
		o, err := kind.Decode(value, &spec)
		if err != nil {
			return nil, fmt.Errorf("backup: %s: %w", key, err)
		}
		had := func(p netip.Prefix) bool { return slices.ContainsFunc(l.taken, p.Overlaps) }
		spec.Prefixes, spec.Draining = slices.DeleteFunc(spec.Prefixes, had), slices.DeleteFunc(spec.Draining, had)
		if len(spec.Prefixes) == 0 {
			delete(values, key)
			continue
		}
		if values[key], err = kind.Encode(kind.Lease, o.Metadata, spec); err != nil {
			return nil, fmt.Errorf("backup: %s: %w", key, err)
		}
	}
	return values, nil
}

// word is the record of where a lease is known from that a restore adds.
func (c contents) word() ([]byte, error) {
	b, err := json.Marshal(struct {
		Age      int64 `json:"age"`
		Revision int64 `json:"revision"`
		Told     bool  `json:"told"`
	}{2 * int64(c.Ordinal), c.Revision, false})
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	return b, nil
}
