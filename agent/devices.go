package agent

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/agent/detached"
	"github.com/weft-net/weft/proto/intent"
)

// How long a process that died, of a WireGuard device or of relays, is a problem: one for
// a minute, so that it is told though the next is there at once, and several until an hour
// after the first of them.
const (
	diedLately = time.Minute
	diesAgain  = time.Hour
	manyDeaths = 3
	mostDeaths = 64 // that are remembered of a device
)

// deaths are the ends of processes that nobody asked for. The zero value is of
// a node that has seen none. It is safe for concurrent use.
type deaths struct {
	mu  sync.Mutex
	all []detached.End // the oldest first
}

func (d *deaths) add(e detached.End) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, e)
	if more := len(d.all) - 2*mostDeaths; more > 0 {
		d.all = slices.Delete(d.all, 0, more)
	}
}

// problems are one for each name whose process died lately, or again and again.
func (d *deaths) problems(now time.Time) (out []intent.Problem) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = slices.DeleteFunc(d.all, func(e detached.End) bool { return now.Sub(e.At) >= diesAgain })
	of := map[string][]detached.End{}
	for _, e := range d.all {
		of[e.Name] = append(of[e.Name], e)
	}
	for dev, ends := range of {
		last := ends[len(ends)-1]
		if len(ends) < manyDeaths && now.Sub(last.At) >= diedLately {
			continue
		}
		out = append(out, intent.Problem{
			Subject: dev, Cause: died(ends), SinceUnix: last.At.Unix(),
			Remedy: "nothing at once, the agent makes another; what it said last: " + cmp.Or(last.Log, "journalctl -u "+strings.TrimSuffix(last.Unit, ".service")),
		})
	}
	slices.SortFunc(out, func(a, b intent.Problem) int { return cmp.Compare(a.Subject, b.Subject) })
	return out
}

// died words the ends of the processes of one name.
func died(ends []detached.End) string {
	at := func(e detached.End) string { return e.At.UTC().Format(time.RFC3339) }
	last := ends[len(ends)-1]
	how := cmp.Or(last.How, "of what, this kernel does not tell")
	if len(ends) < manyDeaths {
		return fmt.Sprintf("its process %d died at %s: %s", last.PID, at(last), how)
	}
	return fmt.Sprintf("its process died %d times since %s, the last, %d, at %s: %s", len(ends), at(ends[0]), last.PID, at(last), how)
}

// named has problems with peers of WireGuard devices name the node, which is known by its
// key there.
func named(ps []intent.Problem, n intent.Node) []intent.Problem {
	for i, p := range ps {
		rest, ok := strings.CutPrefix(p.Subject, "wg peer ")
		dev, key, _ := strings.Cut(rest, " ")
		if !ok {
			continue
		}
		for _, peer := range n.Peers {
			if slices.ContainsFunc(peer.Slots, func(s intent.Slot) bool { return s.Key.String() == key }) {
				ps[i].Subject = fmt.Sprintf("wg peer %s in %s (%s)", peer.Name, dev, key)
			}
		}
	}
	return ps
}

// ended takes the end of a process.
func (p *pairs) ended(e detached.End) {
	p.deaths.add(e)
	p.kick()
}
