package members

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Problems lists what is wrong with servers and their store, by subject.
func (r *Room) Problems() []Problem {
	var out []Problem
	all := r.Servers()
	up := 0
	for _, s := range all {
		if s.State == Ready {
			up++
		}
	}
	for _, s := range all {
		if p, ok := absent(s); ok {
			out = append(out, p)
		} else if s.LowDisk {
			out = append(out, lowDiskProblem(s))
		}
	}
	if len(all) > 1 && r.cfg.Roster != nil && up < len(all) && up == len(all)/2+1 {
		out = append(out, Problem{
			Subject: "servers", Cause: fmt.Sprintf("%d of %d servers answer: when one more goes nothing can be written until one is back", up, len(all)),
			Remedy: "start those that are down; nodes and pods run on in any case",
		})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.problem {
		out = append(out, p)
	}
	slices.SortStableFunc(out, func(a, b Problem) int { return cmp.Compare(a.Subject, b.Subject) })
	return out
}

func absent(s Status) (Problem, bool) {
	p := Problem{Subject: "server " + s.Name, Since: s.Since}
	remove := "; if it is gone for good: weft server remove " + s.Name
	switch s.State {
	case Lost:
		p.Cause = "server " + s.Name + at(s.Address) + " is lost: it neither answers nor stopped in good order"
		p.Remedy = "on its machine: systemctl status weft-server" + remove
		switch {
		case s.Why != "":
			p.Cause = "server " + s.Name + at(s.Address) + " ended by itself: " + s.Why
			p.Remedy = "mend that; systemd starts it again by itself (systemctl status weft-server)" + remove
		case s.LowDisk:
			p.Cause += "; its disk was nearly full"
			p.Remedy = "make room on its disk: it then comes back by itself (systemctl status weft-server)" + remove
		}
	case Stopped:
		p.Cause = fmt.Sprintf("server %s%s was stopped at %s", s.Name, at(s.Address), s.Since.UTC().Format(time.RFC3339))
		p.Remedy = "on its machine: systemctl start weft-server" + remove
	default:
		return p, false
	}
	return p, true
}

func at(address string) string {
	if address == "" {
		return ""
	}
	return " at " + address
}
