package push

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/server/kind"
)

// Two agents with one node's key take its stream from each other without end. That
// is noticed when machines differ, or when they take turns this often.
const (
	doubleSubject = "agent"
	turnsWithin   = time.Minute
	turnsMany     = 3 // of boots
	turnsBack     = 2 // to an address that a stream was taken from
	// doubleKept is longer than who is sent away takes to have tried five servers.
	doubleKept = 30 * time.Minute
	// backoffDouble and backoffDoubleMax bound for how long the one is sent away
	// that comes while the other is there, seconds.
	backoffDouble    = 5
	backoffDoubleMax = 300
	maxSpeakers      = 16 // whose tries are counted
)

// speaker is who speaks as a node, as far as can be told.
type speaker struct {
	machine, boot string
	instance      string     // of the agent's process; empty if it gave none
	addr          netip.Addr // without a port
}

// same tells whether two are surely one: a process that came back, by whatever
// address.
func (s speaker) same(t speaker) bool {
	return s == t || s.instance != "" && s.instance == t.instance
}

// String names the speaker for an operator.
func (s speaker) String() string {
	if s.addr.IsValid() {
		return fmt.Sprintf("machine %s at %v", s.machine, s.addr)
	}
	return "machine " + s.machine
}

// turn is a live stream's being taken over.
type turn struct {
	at     time.Time
	from   speaker
	booted bool // by one of another boot
	back   bool // by one from which it had been taken
}

// double is what tells of two agents with one key.
type double struct {
	turns []turn          // of late
	seen  time.Time       // last; zero if there are no two
	tries map[speaker]int // how often one was sent away
}

func (d *double) over(now time.Time) bool { return !d.seen.IsZero() && now.Sub(d.seen) > doubleKept }

// back tells whether a speaker is one that the stream was taken from of late.
func (d *double) back(by speaker, now time.Time) bool {
	return slices.ContainsFunc(d.turns, func(t turn) bool { return t.from.same(by) && now.Sub(t.at) <= turnsWithin })
}

// backs counts of late the turns that went to one from which the stream was taken.
func (d *double) backs(now time.Time) (n int) {
	for _, t := range d.turns {
		if t.back && now.Sub(t.at) <= turnsWithin {
			n++
		}
	}
	return n
}

// take notes that one speaker takes a live stream from another, and tells whether
// they are two. A node that booted does so once, and one whose address changed
// does not come back: its old address is gone.
func (d *double) take(from, by speaker, now time.Time) bool {
	if from.same(by) {
		return false
	}
	back := d.back(by, now)
	d.turns = slices.DeleteFunc(d.turns, func(t turn) bool { return now.Sub(t.at) > turnsWithin })
	d.turns = append(d.turns, turn{now, from, from.boot != by.boot, back})
	boots := 0
	for _, t := range d.turns {
		if t.booted {
			boots++
		}
	}
	both := back && from.instance != "" && by.instance != "" // a process that came back after another spoke: both run
	if !both && from.machine == by.machine && boots < turnsMany && d.backs(now) < turnsBack {
		return false
	}
	d.seen = now
	return true
}

// sendAway is for how long, seconds, the next try of a speaker has to wait: twice
// as long each time.
func (d *double) sendAway(by speaker, now time.Time) uint32 {
	d.seen = now
	if d.tries == nil || len(d.tries) >= maxSpeakers {
		d.tries = map[speaker]int{}
	}
	wait := min(backoffDouble<<min(d.tries[by], 16), backoffDoubleMax)
	d.tries[by]++
	return uint32(wait)
}

// replaced notes that a stream takes over from one that is alive.
func (n *node) replaced(old, by speaker) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if n.double.take(old, by, now) {
		n.noteDouble(old, by, now)
	}
}

// noteDouble says that there are two. n.mu is held.
func (n *node) noteDouble(old, by speaker, now time.Time) {
	who := fmt.Sprintf("%v and %v", old, by)
	if old.machine == by.machine && old.boot != by.boot {
		who = fmt.Sprintf("%v (boot %s) and %v (boot %s)", old, old.boot, by, by.boot)
	}
	n.noted[doubleSubject] = kind.Problem{
		Subject: doubleSubject, SinceUnix: now.Unix(),
		Cause: fmt.Sprintf("%s both speak as node %s and take its stream from each other; one that comes while the other is there is sent away", who, n.name),
		Remedy: "on the one whose data folder is a copy, stop weft-agent, empty its data folder and join under another --node-name with a token of " +
			"weft token create; if it shall be " + n.name + " itself, stop the other and use weft token create --node " + n.name + " --replace",
	}
}

// contested is for how long, seconds, a stream's agent is to stay away: another
// has the node's stream, and the two take it from each other. Of these the first
// keeps it: the other is the one that would be back for the second time. A holder
// that was not heard of late does not hold it.
func (h *Hub) contested(s *stream) uint32 {
	h.mu.RLock()
	old := h.streams[s.name]
	h.mu.RUnlock()
	if old != nil {
		return old.node.contested(old.speaker, s.speaker, 2*h.cfg.Heartbeat)
	}
	h.mu.RLock()
	n := h.nodes[s.name]
	h.mu.RUnlock()
	if n == nil || !n.disputed() {
		return 0
	}
	if holder, ok := h.holderElsewhere(s.ctx, s.name); ok {
		return n.contested(holder, s.speaker, 0)
	}
	return 0
}

// disputed tells whether the node's stream was taken over of late.
func (n *node) disputed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.double.turns) > 0 || !n.double.seen.IsZero()
}

// contested is for how long one is to stay away while old has the stream, of whom
// nothing was heard here for at most silent; 0: another server hears it.
func (n *node) contested(old, by speaker, silent time.Duration) uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if old.same(by) || silent > 0 && now.Sub(n.status.Heard) > silent {
		return 0
	}
	if n.double.seen.IsZero() || n.double.over(now) {
		if !n.double.back(by, now) || n.double.backs(now)+1 < turnsBack {
			return 0
		}
		n.noteDouble(old, by, now)
	}
	return n.double.sendAway(by, now)
}
