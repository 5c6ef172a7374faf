package egress

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// Bounds on what is asked of other servers, and remembered of their answers.
const (
	askWithin  = 2 * time.Second
	foundFor   = 10 * time.Second // where a node's tunnel was
	missedFor  = time.Second      // that it was nowhere
	maxFound   = 4096             // nodes
	maxPerHop  = 2                // servers that are tried for one dial
	maxSilence = 3                // servers that a reason names
)

// found is where nodes' tunnels were found. It is safe for concurrent use.
type found struct {
	mu       sync.Mutex
	at       map[string]finding
	all      []*weftv1.Tunnel // of all nodes
	allUntil time.Time
}

type finding struct {
	servers []string
	until   time.Time
}

// others are all tunnels of the other servers, as they were within missedFor.
func (g *Gate) others(ctx context.Context) []*weftv1.Tunnel {
	g.found.mu.Lock()
	all, until := g.found.all, g.found.allUntil
	g.found.mu.Unlock()
	if time.Now().Before(until) {
		return all
	}
	g.counters.lookedUp("asked")
	all, _ = g.heldByOthers(ctx, "")
	if len(all) > 0 {
		g.found.mu.Lock()
		defer g.found.mu.Unlock()
		g.found.all, g.found.allUntil = all, time.Now().Add(missedFor)
	}
	return all
}

func (f *found) get(node string, now time.Time) ([]string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, known := f.at[node]
	if !known || now.After(at.until) {
		return nil, false
	}
	return at.servers, true
}

func (f *found) put(node string, servers []string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at == nil || len(f.at) >= maxFound {
		f.at = map[string]finding{} // it is asked again
	}
	lasts := foundFor
	if len(servers) == 0 {
		lasts = missedFor
	}
	f.at[node] = finding{servers, now.Add(lasts)}
}

func (f *found) drop(node string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.at, node)
}

// elsewhere are the other servers that have a node's tunnel, and why those that did
// not answer did not.
func (g *Gate) elsewhere(ctx context.Context, node string) (servers, silent []string) {
	if servers, known := g.found.get(node, time.Now()); known {
		g.counters.lookedUp("remembered")
		return servers, nil
	}
	g.counters.lookedUp("asked")
	all, silent := g.heldByOthers(ctx, node)
	for _, t := range all {
		if t.GetState() == Ready && t.GetNode() == node && !slices.Contains(servers, t.GetServer()) {
			servers = append(servers, t.GetServer())
		}
	}
	if len(silent) == 0 || len(servers) > 0 {
		g.found.put(node, servers, time.Now())
	}
	return servers, silent
}

// heldByOthers asks all other servers at once for their tunnels: of a node, or of
// all.
func (g *Gate) heldByOthers(ctx context.Context, node string) (all []*weftv1.Tunnel, silent []string) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, server := range g.Others.Names() {
		asking.Go(func() {
			held, err := g.Others.Held(ctx, server, node)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				silent = append(silent, server+": "+err.Error())
				return
			}
			for _, t := range held {
				t.Server = server // whatever it says
				all = append(all, t)
			}
		})
	}
	asking.Wait()
	slices.SortFunc(all, func(a, b *weftv1.Tunnel) int {
		return strings.Compare(a.GetNode()+"\x00"+a.GetServer(), b.GetNode()+"\x00"+b.GetServer())
	})
	slices.Sort(silent)
	return all, silent
}

// overOther hands a dial on to a server that has the node's tunnel. outdated says
// that none has, of those that were thought to.
func (g *Gate) overOther(ctx context.Context, d *trace, a aim) (c Conn, last *Refusal, outdated bool) {
	servers, silent := g.elsewhere(ctx, a.way.Node)
	d.step("look up")
	for _, server := range servers[:min(len(servers), maxPerHop)] {
		d.over(server)
		c, err := g.hop(ctx, d, a, server)
		d.step("hop")
		if err == nil {
			g.counters.lookedUp("hop")
			return c, nil, false
		}
		last = Refused(err)
		if last.Code != NoTunnel && last.Code != Stopping && !errors.Is(err, errServer) {
			return nil, last, false // the node's word
		}
		g.found.drop(a.way.Node)
	}
	if last != nil {
		return nil, last, true
	}
	g.counters.lookedUp("none")
	r := refuse(NoTunnel, "node %s has a tunnel to no server that answers", a.way.Node).do("on the node: weft status --local")
	if len(silent) > 0 {
		r.Reason += " (" + strings.Join(silent[:min(len(silent), maxSilence)], "; ") + ")"
	}
	return nil, r, false
}
