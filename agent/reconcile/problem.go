package reconcile

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// Refused tells whether a device is among what the loop cannot bring about.
func (l *Loop) Refused(dev string) bool {
	s := subject(datapath.Link{Name: dev}.Key())
	return slices.ContainsFunc(l.Problems(), func(p intent.Problem) bool { return p.Subject == s })
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
	out = append(out, l.refusals()...)
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

// blaming is an error of a step that says which other object is the cause: a device
// that does not answer.
type blaming interface{ Culprit() datapath.Key }

// culprit is the object that the last step's error blames.
func (p *past) culprit() (at datapath.Key, ok bool) {
	var b blaming
	if ok = errors.As(p.err, &b); ok {
		at = b.Culprit()
	}
	return at, ok
}

// refusals are the objects that the kernel refuses, or somebody undoes. What rests
// on a device that is refused itself, or that is to blame, is counted there: it is no
// cause of its own.
func (l *Loop) refusals() []intent.Problem {
	var out []intent.Problem
	rest := map[string]int{} // on a device
	blamed := map[datapath.Key]intent.Problem{}
	for k, p := range l.past {
		if at, ok := p.culprit(); ok && at != k {
			rest[at.ID]++
			if was, ok := blamed[at]; !ok || p.since.Unix() < was.SinceUnix {
				blamed[at] = p.problem(at)
			}
		} else if dev := p.device(); p.err != nil && dev != "" && l.refused(dev) {
			rest[dev]++
		} else if p.err != nil || !p.fought.IsZero() {
			out = append(out, p.problem(k))
		}
	}
	for at, p := range blamed {
		if !l.refused(at.ID) {
			out = append(out, p)
		}
	}
	for i, p := range out {
		if dev, ok := strings.CutPrefix(p.Subject, "link "); ok && rest[dev] > 0 {
			out[i].Cause += fmt.Sprintf(" (and %d objects that rest on it)", rest[dev])
		}
	}
	return out
}

func (l *Loop) refused(dev string) bool {
	p := l.past[datapath.Link{Name: dev}.Key()]
	return p != nil && p.err != nil
}

// device is the one that the last step needed.
func (p *past) device() string {
	switch o := p.op.New.(type) {
	case datapath.Addr:
		return o.Dev
	case datapath.Route:
		return o.Dev
	case datapath.Neigh:
		return o.Dev
	case datapath.FDB:
		return o.Dev
	case datapath.WGPeer:
		return o.Dev
	case datapath.Sysctl:
		return o.Dev()
	}
	return ""
}

func (p *past) problem(k datapath.Key) intent.Problem {
	out := intent.Problem{Subject: subject(k), SinceUnix: p.since.Unix()}
	if p.err != nil {
		out.Cause, out.Remedy = p.said()
		return out
	}
	out.SinceUnix = p.fought.Unix()
	out.Cause = fmt.Sprintf("somebody undoes it again and again, more than %d times so far; it is put back once a second", p.times())
	out.Remedy = whoFights
	return out
}

// times is how often it was put back, told when that has doubled: each other number
// would be news.
func (p *past) times() int {
	n := burst
	for 2*n < p.undone {
		n *= 2
	}
	return n
}

// said parts an error into what is the matter and what to do. It names the step,
// which the subject does already, and may have a remedy between a semicolon and
// the kernel's own words.
func (p *past) said() (cause, remedy string) {
	text := p.err.Error()
	if _, rest, ok := strings.Cut(text, p.op.String()+": "); ok {
		text = rest
	}
	cause, remedy, told := strings.Cut(text, "; ")
	if !told {
		return cause, "it is tried again by itself; remove what stands in the way"
	}
	root := p.err
	for e := errors.Unwrap(root); e != nil; e = errors.Unwrap(e) {
		root = e
	}
	if do, ok := strings.CutSuffix(remedy, ": "+root.Error()); ok {
		cause, remedy = cause+": "+root.Error(), do
	}
	return cause, remedy + "; it is tried again by itself"
}

func subject(k datapath.Key) string {
	words := map[datapath.Kind]string{
		datapath.KindSysctl: "sysctl", datapath.KindLink: "link", datapath.KindAddr: "addr", datapath.KindNeigh: "neigh",
		datapath.KindFDB: "fdb", datapath.KindRoute: "route", datapath.KindSet: "set", datapath.KindChain: "chain",
		datapath.KindElement: "element", datapath.KindRule: "rule", datapath.KindWGPeer: "wg peer",
	}
	return words[k.Kind] + " " + k.ID
}
