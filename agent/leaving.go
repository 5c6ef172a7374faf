package agent

import (
	"fmt"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// overdue is how long a key that is to go may be in use before that is a problem: pairs
// whose two agents are heard move in seconds.
const overdue = time.Minute

// leaving is a key that is to go and that pairs still use. The zero value is of a node
// that has none.
type leaving struct {
	slot  uint8
	since time.Time // when it was first seen to be leaving; zero: no key is
	users []string  // the peers that keep it, once that takes too long
}

// waits looks at which pairs keep an old key.
func (p *pairs) waits(now time.Time) {
	at := p.at()
	if at == nil {
		p.leaving = leaving{}
		return
	}
	p.leaving.see(p.ring.Slots(), func(slot uint8) []string { return at.Summary().Slots[slot] }, now)
}

// see takes the node's slots, and asks who uses one that takes too long to go.
func (l *leaving) see(slots []intent.Slot, users func(slot uint8) []string, now time.Time) {
	for _, s := range slots {
		if !s.Leaving {
			continue
		}
		if l.since.IsZero() || l.slot != s.Slot {
			*l = leaving{slot: s.Slot, since: now}
		}
		if l.users = nil; now.Sub(l.since) >= overdue {
			l.users = users(s.Slot)
		}
		return
	}
	*l = leaving{}
}

func (l *leaving) problems(self string) []intent.Problem {
	if len(l.users) == 0 {
		return nil
	}
	return []intent.Problem{{
		Subject: "WireGuard", Cause: fmt.Sprintf("the old key of %s in slot %d is still good: it waits for %s since %s",
			self, l.slot, some(l.users), l.since.UTC().Format(time.RFC3339)),
		Remedy: fmt.Sprintf("is the agent there up? weft get nodes; a node that is gone for good: weft delete node %s", l.users[0]),
	}}
}

// some names the first of many.
func some(names []string) string {
	text := strings.Join(names[:min(len(names), mostNamed)], ", ")
	if more := len(names) - mostNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
