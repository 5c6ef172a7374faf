package push

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/kind"
)

// How many nodes that come or go together are told of one by one, how many are
// named otherwise, and how long they are gathered.
const (
	maxSingles = 20
	maxNamed   = 10
	gatherFor  = 2 * time.Second
)

// crowd gathers who comes and goes: when a server or a wire dies, thousands do at
// once, and that is one event.
type crowd struct {
	note func(journal.Event)

	mu    sync.Mutex
	came  map[string]string // to a sentence
	left  map[string]string
	timer *time.Timer
}

func newCrowd(note func(journal.Event)) *crowd {
	if note == nil {
		note = func(journal.Event) {}
	}
	return &crowd{note: note, came: map[string]string{}, left: map[string]string{}}
}

func (c *crowd) add(to map[string]string, node, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	to[node] = message
	if c.timer == nil {
		c.timer = time.AfterFunc(gatherFor, c.tell)
	}
}

// arrived and departed take one node.
func (c *crowd) arrived(node, message string)  { c.add(c.came, node, message) }
func (c *crowd) departed(node, message string) { c.add(c.left, node, message) }

// tell notes what was gathered.
func (c *crowd) tell() {
	c.mu.Lock()
	came, left := maps.Clone(c.came), maps.Clone(c.left)
	clear(c.came)
	clear(c.left)
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	c.mu.Unlock()
	c.each(left, journal.Warning, "AgentLeft", "agents left")
	c.each(came, journal.Normal, "AgentCame", "agents came")
}

func (c *crowd) each(nodes map[string]string, kind, reason, many string) {
	names := slices.Sorted(maps.Keys(nodes))
	if len(names) > maxSingles {
		c.note(journal.Event{Kind: kind, Object: "Fabric", Reason: reason, Message: fmt.Sprintf("%d %s: %s and %d more",
			len(names), many, strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)})
		return
	}
	for _, name := range names {
		c.note(journal.Event{Kind: kind, Object: "Node/" + name, Reason: reason, Message: nodes[name]})
	}
}

// news is what became of a node's problems since they were last told: subject and
// cause make one.
func (n *node) news() (appeared, gone []kind.Problem) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := map[[2]string]kind.Problem{}
	for _, p := range n.problems() {
		now[[2]string{p.Subject, p.Cause}] = p
	}
	for k, p := range now {
		if _, told := n.told[k]; !told {
			appeared = append(appeared, p)
		}
	}
	for k, p := range n.told {
		if _, there := now[k]; !there {
			gone = append(gone, p)
		}
	}
	n.told = now
	return appeared, gone
}

// tellProblems notes what is wrong on a node and was not, and the reverse.
func (h *Hub) tellProblems(n *node) {
	appeared, gone := n.news()
	for _, p := range appeared {
		message := p.Subject + ": " + p.Cause
		if p.Remedy != "" {
			message += "; do: " + p.Remedy
		}
		h.crowd.note(journal.Event{Kind: journal.Warning, Object: "Node/" + n.name, Reason: "ProblemAppeared", Message: message})
	}
	for _, p := range gone {
		h.crowd.note(journal.Event{Object: "Node/" + n.name, Reason: "ProblemGone", Message: p.Subject + ": " + p.Cause})
	}
}
