package push

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/server/kind"
)

// Two agents with one node's key that look the same, or whose holder cannot be
// asked, take its stream from each other without end. That is noticed when they take
// turns this often.
const (
	doubleSubject = "agent"
	turnsWithin   = time.Minute
	turnsMany     = 3 // of boots
	turnsBack     = 2 // to an address that a stream was taken from
	// doubleKept is longer than who is sent away takes to come again, with the quarter
	// that it adds by chance: after it nobody comes any more.
	doubleKept = 45 * time.Second
	// backoffDouble and backoffDoubleMax bound for how long the one is sent away
	// that comes while the other is there, seconds. It may be the node itself, whose
	// copy came first: it has to be back soon after the copy is stopped.
	backoffDouble    = 5
	backoffDoubleMax = 20
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

// twin tells whether two are the same machine since one start of it, at one address,
// as an agent that was started again is. A copy on another machine is none, whatever
// its image brought along.
func (s speaker) twin(t speaker) bool {
	return s.same(t) || s.machine == t.machine && s.boot == t.boot && s.addr == t.addr
}

// strange tells whether one is on another machine for all that can be seen: neither
// a node that moved to another address, nor one that was started anew.
func (s speaker) strange(t speaker) bool {
	return !s.same(t) && s.boot != t.boot && (s.machine != t.machine || s.addr != t.addr)
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
	doubt time.Time       // since when it cannot be known whether the holder lives
	check *time.Timer     // of whether it is over; nil before the first
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
	if !both && boots < turnsMany && d.backs(now) < turnsBack {
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

// replaced notes that a stream takes over from one of whom it is not known that it
// has ended.
func (h *Hub) replaced(n *node, old, by speaker) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if n.double.take(old, by, now) {
		n.noteDouble(old, by, [2]string{old.boot, by.boot}, now)
		h.reckon(n)
	}
}

// noteDouble says that there are two. n.mu is held.
func (n *node) noteDouble(old, by fmt.Stringer, boots [2]string, now time.Time) {
	who := fmt.Sprintf("%v and %v", old, by)
	if boots[0] != boots[1] {
		who = fmt.Sprintf("%v (boot %s) and %v (boot %s)", old, boots[0], by, boots[1])
	}
	p := kind.Problem{
		Subject: doubleSubject, SinceUnix: now.Unix(),
		Cause: fmt.Sprintf("%s both speak as node %s; the one that comes while the other is there is sent away", who, n.name),
		Remedy: "on the one whose data folder is a copy, stop weft-agent, empty its data folder and join under another --node-name with a token of " +
			"weft token create; if it shall be " + n.name + " itself, stop the other and use weft token create --node " + n.name + " --replace",
	}
	if had, ok := n.noted[doubleSubject]; ok {
		p.SinceUnix = had.SinceUnix
	}
	n.noted[doubleSubject] = p
}

// keepOut is for how long, seconds, another has to stay away from a holder that
// lives. That there are two is said.
func (h *Hub) keepOut(n *node, old holder, by speaker) uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	h.reckon(n)
	n.noteDouble(old, by, [2]string{old.boot, by.boot}, now)
	return n.double.sendAway(by, now)
}

// reckon has it written when nobody else has come any more for long enough. n.mu is
// held.
func (h *Hub) reckon(n *node) {
	if n.double.check != nil {
		n.double.check.Stop()
	}
	n.double.check = time.AfterFunc(doubleKept+writeEvery, func() { h.observed.node(n) })
}

// since is when the node's stream came.
func (n *node) since() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.status.Since
}

// inDoubt tells whether it is too early to take a holder for gone that cannot be
// asked, or has just left: one that lives is back within the time in which a stream
// dies.
func (n *node) inDoubt(dead time.Duration) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if d := n.double.doubt; d.IsZero() || now.Sub(d) > 2*dead {
		n.double.doubt = now
	}
	return now.Sub(n.double.doubt) < dead
}

// certain ends the doubt: the node has a stream.
func (n *node) certain() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.double.doubt = time.Time{}
}

// disputed tells whether the node's stream was taken over of late.
func (n *node) disputed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.double.turns) > 0 || !n.double.seen.IsZero()
}

// contested is for how long, seconds, one is to stay away that looks the same as the
// holder, of whom nothing was heard for at most silent. Of two such the first keeps
// the stream: the other is the one that would be back for the second time.
func (h *Hub) contested(n *node, old, by speaker, silent time.Duration) uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if old.same(by) || now.Sub(n.status.Heard) > silent {
		return 0
	}
	if n.double.seen.IsZero() || n.double.over(now) {
		if !n.double.back(by, now) || n.double.backs(now)+1 < turnsBack {
			return 0
		}
		n.noteDouble(old, by, [2]string{old.boot, by.boot}, now)
	}
	h.reckon(n)
	return n.double.sendAway(by, now)
}
