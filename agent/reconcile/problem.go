package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
)

// mostProblems bounds the list: a kernel that refuses everything is one problem.
const mostProblems = 64

const whoFights = "find who does it: ip monitor, nft monitor. systemd-networkd wants ManageForeignRoutes=no, NetworkManager unmanaged-devices=interface-name:weft*;interface-name:wf*"

// Problems lists what the loop cannot bring about, by subject.
func (l *Loop) Problems() []intent.Problem {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.problems)
}

func (l *Loop) findProblems(now time.Time) []intent.Problem {
	var out []intent.Problem
	if f := l.planErr; f.err != nil {
		out = append(out, intent.Problem{
			Subject: "plan", Cause: f.err.Error(), SinceUnix: f.since.Unix(),
			Remedy: "the last plan stands; this is a fault in weft or in what it was told, see the agent's log",
		})
	}
	if f := l.lookErr; f.err != nil {
		out = append(out, intent.Problem{
			Subject: "kernel", Cause: "cannot be looked at: " + f.err.Error(), SinceUnix: f.since.Unix(),
			Remedy: "the agent needs CAP_NET_ADMIN; it tries again by itself",
		})
	}
	for _, op := range l.fights {
		out = append(out, intent.Problem{
			Subject: subject(op.Key()), Remedy: whoFights, SinceUnix: now.Unix(),
			Cause: fmt.Sprintf("did not stay done %d times in a row: %v", looks, op),
		})
	}
	for k, p := range l.past {
		if p.err == nil && !p.denied {
			continue
		}
		out = append(out, p.problem(k))
	}
	slices.SortFunc(out, func(a, b intent.Problem) int {
		return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Cause, b.Cause))
	})
	if more := len(out) - mostProblems; more > 0 {
		out = append(out[:mostProblems], intent.Problem{
			Subject: "kernel", Cause: fmt.Sprintf("%d more objects cannot be brought about", more),
			Remedy: "see those listed first", SinceUnix: now.Unix(),
		})
	}
	return out
}

func (p *past) problem(k datapath.Key) intent.Problem {
	out := intent.Problem{Subject: subject(k), SinceUnix: p.since.Unix()}
	if p.err != nil {
		out.Cause = p.err.Error()
		out.Remedy = "it is tried again by itself; remove what stands in the way"
		return out
	}
	out.Cause = fmt.Sprintf("somebody undid it more than %d times; it is put back once a second", burst)
	out.Remedy = whoFights
	return out
}

func subject(k datapath.Key) string {
	words := map[datapath.Kind]string{
		datapath.KindSysctl: "sysctl", datapath.KindLink: "link", datapath.KindAddr: "addr", datapath.KindNeigh: "neigh",
		datapath.KindFDB: "fdb", datapath.KindRoute: "route", datapath.KindSet: "set", datapath.KindChain: "chain",
		datapath.KindElement: "element", datapath.KindRule: "rule",
	}
	return words[k.Kind] + " " + k.ID
}
