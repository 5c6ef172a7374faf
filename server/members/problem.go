package members

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/server/store"
)

// Problem is what is wrong with the servers or their store.
type Problem struct {
	Subject, Cause, Remedy string
	Since                  time.Time
}

// Problems lists what is wrong with servers and their store, by subject.
func (r *Room) Problems() []Problem {
	all := r.Servers()
	out := problemsOf(all)
	if silence, silent := r.Silence(); silent {
		out = append(out, r.silent(silence, all))
	} else if p, ok := onEdge(all, r.members()); ok {
		out = append(out, p)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.problem {
		out = append(out, p)
	}
	slices.SortStableFunc(out, func(a, b Problem) int { return cmp.Compare(a.Subject, b.Subject) })
	return out
}

// problemsOf are those that servers said of themselves, or left behind.
func problemsOf(all []Status) (out []Problem) {
	for _, s := range all {
		p, gone := absent(s)
		switch {
		case gone:
			out = append(out, p)
		case s.LowDisk:
			out = append(out, lowDiskProblem(s))
		}
		if s.LowBackups && !gone {
			out = append(out, lowBackupsProblem(s))
		}
	}
	return out
}

// onEdge warns of the last quorum: members that vote count, not records.
func onEdge(all []Status, members []store.Member) (Problem, bool) {
	up, voters := votes(all, members)
	if voters < 2 || up == voters || up != voters/2+1 {
		return Problem{}, false
	}
	return Problem{
		Subject: "servers", Cause: fmt.Sprintf("%d of %d servers answer: when one more goes nothing can be written until one is back", up, voters),
		Remedy: "start " + strings.Join(mute(all, members), ", ") + "; nodes and pods run on in any case",
	}, true
}

// mute are the members that vote and do not answer, by name.
func mute(all []Status, members []store.Member) []string {
	var out []string
	for _, m := range members {
		if up, _ := votes(all, []store.Member{m}); up == 0 && !m.Learner {
			out = append(out, m.Name)
		}
	}
	slices.Sort(out)
	return out
}

// Votes counts the members of the embedded etcd that vote, and those of them whose
// servers answer; none of an etcd elsewhere.
func (r *Room) Votes() (up, voters int) { return votes(r.Servers(), r.members()) }

// votes counts the members of the embedded etcd that vote, and those of them
// whose servers answer.
func votes(all []Status, members []store.Member) (up, voters int) {
	answer := map[string]bool{}
	for _, s := range all {
		answer[s.Name] = s.State == Ready || s.State == Waiting
	}
	for _, m := range members {
		if m.Learner {
			continue
		}
		if voters++; answer[m.Name] {
			up++
		}
	}
	return up, voters
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

func (r *Room) fullProblem(why string) *Problem {
	p := &Problem{
		Subject: "etcd", Cause: "etcd is full and takes no writes, after compaction and defragmentation: " + why,
		Remedy: "nodes keep their paths and pods; find what fills it (weft get nodes -o name | wc -l, so for leases and endpoints; weft token ls; weft user ls; the journal is bounded), delete it, and this server mends the rest within seconds",
	}
	if r.cfg.Mode == Elsewhere {
		p.Remedy = "nodes keep their paths and pods; look what else is in that etcd (etcdctl get --prefix --keys-only /), or raise its --quota-backend-bytes"
	}
	return p
}

// found keeps or takes back a problem.
func (r *Room) found(subject string, p *Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p == nil {
		delete(r.problem, subject)
		return
	}
	p.Since = r.cfg.Now()
	if old, ok := r.problem[subject]; ok {
		p.Since = old.Since
	}
	r.problem[subject] = *p
}
