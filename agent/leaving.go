package agent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
)

// overdue is how long a key that is to go may be in use before that is a problem, and one
// that is to be made may wait: pairs whose two agents are heard move in seconds.
const overdue = 30 * time.Second

// leaving is a key that is to go and that pairs still use. The zero value is of a node
// that has none.
type leaving struct {
	slot  uint8
	since time.Time // when it was first seen to be leaving; zero: no key is
	users []string  // the peers that keep it, once that takes too long
	away  []string  // those of them whose agent says nothing
	own   bool      // it is this node that holds them up, which is a problem of its own

	due    time.Time // since when the node's key is to be changed, and is not; zero: it is not
	others []string  // the nodes whose keys go first, once that takes too long
}

// waits looks at which pairs keep an old key, and what a new one waits for.
func (p *pairs) waits(now time.Time) {
	at := p.at()
	if at == nil {
		p.leaving = leaving{}
		return
	}
	n, _ := p.intent()
	s := at.Summary()
	p.leaving.see(p.ring.Slots(), func(slot uint8) []string { return keepers(n, at.Choices(), s.Slots[slot]) }, now)
	p.leaving.wait(p.old(n.Cluster, now), changing(n), now)
	p.leaving.away = slices.DeleteFunc(slices.Clone(p.leaving.users), func(peer string) bool { return !slices.Contains(s.Unheard, peer) })
	p.leaving.own = p.deaf() != nil || slices.ContainsFunc(p.ring.Slots(), func(s intent.Slot) bool { return !s.Leaving && p.refused(datapath.WGLink(s.Slot)) })
}

// keepers are the peers because of which a slot does not go: those that use it, or of
// which it is not known.
func keepers(n intent.Node, choices map[string]mesh.Choice, users []string) []string {
	if len(users) > 0 {
		return users
	}
	for _, peer := range n.Peers {
		if _, ok := choices[peer.Name]; !ok && peer.Name != n.Name {
			users = append(users, peer.Name)
		}
	}
	return users
}

// wait takes whether the node's key is to be changed, and whose is being changed first.
func (l *leaving) wait(due bool, others []string, now time.Time) {
	if !due || len(others) == 0 || !l.since.IsZero() {
		l.due, l.others = time.Time{}, nil
		return
	}
	if l.due.IsZero() {
		l.due = now
	}
	if l.others = nil; now.Sub(l.due) >= overdue {
		l.others = others
	}
}

// see takes the node's slots, and asks who uses one that takes too long to go.
func (l *leaving) see(slots []intent.Slot, users func(slot uint8) []string, now time.Time) {
	for _, s := range slots {
		if !s.Leaving {
			continue
		}
		if l.since.IsZero() || l.slot != s.Slot {
			l.slot, l.since = s.Slot, now
		}
		if l.users = nil; now.Sub(l.since) >= overdue {
			l.users = users(s.Slot)
		}
		return
	}
	l.slot, l.since, l.users = 0, time.Time{}, nil
}

func (l *leaving) problems(self string) (out []intent.Problem) {
	if len(l.users) > 0 && !l.own {
		remedy := "what holds it up there? weft describe node " + l.users[0]
		if len(l.away) > 0 {
			remedy = "is the agent there up? weft get nodes; a node that is gone for good: weft delete node " + l.away[0]
		}
		out = append(out, intent.Problem{
			Subject: "WireGuard", Cause: fmt.Sprintf("the old key of %s in slot %d is still good: it waits for %s since %s",
				self, l.slot, some(l.users), l.since.UTC().Format(time.RFC3339)), Remedy: remedy,
		})
	}
	if len(l.others) > 0 {
		out = append(out, intent.Problem{
			Subject: "WireGuard", Cause: fmt.Sprintf("the key of %s is to be changed since %s, and waits until those of %s are",
				self, l.due.UTC().Format(time.RFC3339), some(l.others)),
			Remedy: fmt.Sprintf("what do they wait for? weft describe node %s", l.others[0]),
		})
	}
	return out
}

// some names the first of many.
func some(names []string) string {
	text := strings.Join(names[:min(len(names), mostNamed)], ", ")
	if more := len(names) - mostNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
