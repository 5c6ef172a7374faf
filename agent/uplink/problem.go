package uplink

import (
	"cmp"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// maxProblems bounds what one report carries up.
const maxProblems = 100

type problemKey struct{ subject, cause string }

// ledger merges the problems of several sources and remembers since when each
// has stood, as long as its words stay; a source that words one problem in several
// ways gives its date. Not safe for concurrent use.
type ledger struct {
	sources map[string][]intent.Problem
	since   map[problemKey]int64 // Unix seconds
}

// set replaces what a source says and tells whether the whole changed.
func (l *ledger) set(source string, ps []intent.Problem, now time.Time) bool {
	before := l.all()
	if l.sources == nil {
		l.sources, l.since = map[string][]intent.Problem{}, map[problemKey]int64{}
	}
	if len(ps) == 0 {
		delete(l.sources, source)
	} else {
		l.sources[source] = slices.Clone(ps)
	}
	l.date(now)
	return !slices.Equal(before, l.all())
}

func (l *ledger) date(now time.Time) {
	stands := map[problemKey]int64{}
	for _, ps := range l.sources {
		for _, p := range ps {
			k := problemKey{p.Subject, p.Cause}
			stands[k] = cmp.Or(p.SinceUnix, now.Unix())
			if since, ok := l.since[k]; ok {
				stands[k] = since
			}
		}
	}
	l.since = stands
}

// all lists every problem once, by subject and cause, with its date.
func (l *ledger) all() []intent.Problem {
	var out []intent.Problem
	for _, ps := range l.sources {
		for _, p := range ps {
			p.SinceUnix = l.since[problemKey{p.Subject, p.Cause}]
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b intent.Problem) int {
		return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Cause, b.Cause), cmp.Compare(a.Remedy, b.Remedy))
	})
	out = slices.CompactFunc(out, func(a, b intent.Problem) bool { return a.Subject == b.Subject && a.Cause == b.Cause })
	return out[:min(len(out), maxProblems)]
}
