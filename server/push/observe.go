package push

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Bounds on one transaction of observations.
const (
	maxWrites = store.MaxOps - 8 // each may have a condition, and the epoch's fence goes with them
	maxBytes  = store.MaxBytes / 2
)

// observer holds what is to be written: at most one value a key, so that a store
// that is slow or away costs no more than that.
type observer struct {
	wake chan struct{} // room for one

	mu     *sync.Mutex // taken after a node's
	nodes  map[string]*node
	writes map[string][]byte // endpoints, by key; nil deletes
	plain  map[string][]byte // further observations of nodes, by key in the store; nil deletes
	all    bool              // what is said of all streams
}

func newObserver() observer {
	return observer{wake: make(chan struct{}, 1), mu: &sync.Mutex{}, nodes: map[string]*node{}, writes: map[string][]byte{}, plain: map[string][]byte{}}
}

func (o *observer) kick() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *observer) node(n *node) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.nodes[n.name] = n
	o.kick()
}

// beacon has written what is said of all streams.
func (o *observer) beacon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = true
	o.kick()
}

// drainBeacon tells whether that is due, and takes it off.
func (o *observer) drainBeacon() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	due := o.all
	o.all = false
	return due
}

func (o *observer) endpoints(n *node, changed map[string][]byte) {
	if len(changed) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.Copy(o.writes, changed)
	o.kick()
}

// keep has an observation of a node written, nil that there is none.
func (o *observer) keep(n *node, key string, value []byte) {
	if !n.keptNews(key, value) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.plain[key] = value
	o.kick()
}

// forget drops what was to be written of a node.
func (o *observer) forget(n *node) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.nodes, n.name)
	for _, key := range keptOf(n.name) {
		delete(o.plain, key)
	}
	maps.DeleteFunc(o.writes, func(key string, _ []byte) bool { return kind.EndpointNode(key) == n.name })
}

// overlay lays what is to be written of a node's endpoints over what is stored.
func (o *observer) overlay(n *node, stored map[string][]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, value := range o.writes {
		if kind.EndpointNode(key) != n.name {
			continue
		}
		if value == nil {
			delete(stored, key)
		} else {
			stored[key] = value
		}
	}
}

// drain takes everything that is to be written.
func (o *observer) drain() (nodes []*node, writes map[string][]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	nodes, writes = slices.Collect(maps.Values(o.nodes)), o.writes
	o.nodes, o.writes = map[string]*node{}, map[string][]byte{}
	slices.SortFunc(nodes, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	return nodes, writes
}

// drainPlain takes the further observations that are to be written.
func (o *observer) drainPlain() map[string][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.plain
	o.plain = map[string][]byte{}
	return out
}

// giveBackPlain returns what was not written, but for what is newer meanwhile.
func (o *observer) giveBackPlain(plain map[string][]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, value := range plain {
		if _, newer := o.plain[key]; !newer {
			o.plain[key] = value
		}
	}
	o.kick()
}

// giveBack returns what was not written, but for what is newer meanwhile.
func (o *observer) giveBack(nodes []*node, writes map[string][]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range nodes {
		o.nodes[n.name] = n
	}
	for key, value := range writes {
		if _, newer := o.writes[key]; !newer {
			o.writes[key] = value
		}
	}
	o.kick()
}

// observe writes what streams leave, at most once a writeEvery, until ctx ends.
func (h *Hub) observe(ctx context.Context) {
	refresh := time.NewTicker(h.cfg.Refresh)
	defer refresh.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-refresh.C:
			h.observed.beacon()
			continue
		case <-h.observed.wake:
		}
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		h.flush(ctx)
		pause.Reset(writeEvery)
	}
}

// flush writes everything that is due, in transactions of bounded size.
func (h *Hub) flush(ctx context.Context) {
	nodes, endpoints := h.known(h.observed.drain())
	for i, n := range nodes {
		if !h.retry(ctx, n) || !h.ground(ctx, n) {
			h.observed.giveBack(nodes[i:], endpoints)
			return
		}
	}
	b := batch{}
	failed := func(err error) bool {
		if err == nil {
			return false
		}
		h.observed.giveBack(nodes, endpoints)
		h.cfg.Log.Warn("observations not written", note.Err, err, note.Retry, writeEvery)
		return true
	}
	if failed(h.record(ctx, nodes)) {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(endpoints)) {
		if failed(b.add(ctx, h.cfg.Store, store.Write{Key: kind.ObservedEndpoint(key), Value: endpoints[key]})) {
			return
		}
	}
	if failed(b.commit(ctx, h.cfg.Store)) {
		return
	}
	if err := h.flushPlain(ctx); err != nil {
		h.cfg.Log.Warn("use of prefixes and paths not written", note.Err, err, note.Retry, writeEvery)
	}
	if h.observed.drainBeacon() {
		if err := h.shine(ctx); err != nil {
			h.observed.beacon()
			h.cfg.Log.Warn("what all nodes have applied not written", note.Err, err, note.Retry, writeEvery)
		}
	}
}

// flushPlain writes what is known of the use of prefixes, and of paths.
func (h *Hub) flushPlain(ctx context.Context) error {
	b, plain := batch{}, h.observed.drainPlain()
	for _, key := range slices.Sorted(maps.Keys(plain)) {
		if err := b.add(ctx, h.cfg.Store, store.Write{Key: key, Value: plain[key]}); err != nil {
			h.observed.giveBackPlain(plain)
			return err
		}
	}
	if err := b.commit(ctx, h.cfg.Store); err != nil {
		h.observed.giveBackPlain(plain)
		return err
	}
	return nil
}

// known leaves out nodes that were cut meanwhile: what is deleted stays deleted.
func (h *Hub) known(nodes []*node, endpoints map[string][]byte) ([]*node, map[string][]byte) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	maps.DeleteFunc(endpoints, func(key string, _ []byte) bool { return h.nodes[kind.EndpointNode(key)] == nil })
	return slices.DeleteFunc(nodes, func(n *node) bool { return h.nodes[n.name] != n }), endpoints
}

// batch is a transaction that grows until it is full. What is written twice,
// because a later part failed, is the same.
type batch struct {
	txn   store.Txn
	bytes int
}

func (b *batch) add(ctx context.Context, s Store, w store.Write) error {
	size := len(w.Key) + len(w.Value)
	if len(b.txn.Then) == maxWrites || b.bytes+size > maxBytes {
		if err := b.commit(ctx, s); err != nil {
			return err
		}
	}
	b.txn.Then = append(b.txn.Then, w)
	b.bytes += size
	return nil
}

func (b *batch) commit(ctx context.Context, s Store) error {
	if len(b.txn.Then) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, letInWork)
	defer cancel()
	_, err := s.Commit(ctx, b.txn)
	*b = batch{}
	return err
}
