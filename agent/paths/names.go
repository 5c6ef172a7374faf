package paths

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/proto/note"
)

// Times of names.
const (
	resolveEvery  = time.Minute
	resolveWithin = 5 * time.Second
	maxOfName     = 8 // addresses
)

// names are --node-external-ip: addresses, and names that are resolved again and again.
type names struct {
	list    []string
	resolve func(ctx context.Context, name string) ([]netip.Addr, error)
	log     *slog.Logger
	kicks   chan struct{} // room for one

	mu   sync.Mutex
	last map[string][]netip.Addr // by name; what was found last stands when nobody answers
	bad  map[string]string       // why, as it was logged
}

func newNames(list []string, resolve func(context.Context, string) ([]netip.Addr, error), log *slog.Logger) *names {
	if resolve == nil {
		resolve = func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		}
	}
	return &names{list: list, resolve: resolve, log: log, kicks: make(chan struct{}, 1), last: map[string][]netip.Addr{}, bad: map[string]string{}}
}

// again resolves soon.
func (n *names) again() { wake(n.kicks) }

// addrs are the addresses in the operator's order.
func (n *names) addrs() []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []netip.Addr
	for _, s := range n.list {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, a.Unmap())
			continue
		}
		out = append(out, n.last[s]...)
	}
	return out
}

// problems says which of them lead nobody to the node, and why, in the operator's order.
func (n *names) problems() (out []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.list {
		if why := n.bad[s]; why != "" {
			out = append(out, s+": "+why)
		}
		for _, a := range n.last[s] {
			if _, what, special := egress.Special(a); special {
				out = append(out, fmt.Sprintf("%s is %v: %s", s, a, what))
			}
		}
	}
	return out
}

// run resolves until ctx ends; without names it has nothing to do.
func (n *names) run(ctx context.Context, changed func()) error {
	var dns []string
	for _, s := range n.list {
		if _, err := netip.ParseAddr(s); err != nil {
			dns = append(dns, s)
		}
	}
	if len(dns) == 0 {
		return nil
	}
	tick := time.NewTicker(resolveEvery)
	defer tick.Stop()
	for {
		for _, name := range dns {
			if n.look(ctx, name) {
				changed()
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-n.kicks:
		}
	}
}

// look resolves a name, and answers whether it has other addresses now.
func (n *names) look(ctx context.Context, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, resolveWithin)
	defer cancel()
	list, err := n.resolve(ctx, name)
	for i, a := range list {
		list[i] = a.Unmap()
	}
	slices.SortFunc(list, netip.Addr.Compare)
	list = slices.Compact(list)
	list = list[:min(len(list), maxOfName)]
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil || len(list) == 0 {
		why := "it has no address"
		if err != nil {
			why = err.Error()
		}
		if n.bad[name] != why {
			n.bad[name] = why
			n.log.Warn("name not resolved", note.Flag, "--node-external-ip", note.Addr, name, note.Why, why, note.Retry, resolveEvery)
		}
		return false
	}
	delete(n.bad, name)
	if slices.Equal(n.last[name], list) {
		return false
	}
	n.last[name] = list
	n.log.Info("name resolved", note.Flag, "--node-external-ip", note.Addr, list)
	return true
}
