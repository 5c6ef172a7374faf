package push

import (
	"slices"
	"time"

	"github.com/weft-net/weft/server/kind"
)

// mostUnseen is for how long what a node told of on an earlier stream may stand for what
// its agent, which has begun anew, has not looked for yet. Agents ask for 10 s at most.
const mostUnseen = 30 * time.Second

// unseen is what a node told of on an earlier stream, while its agent has not looked at
// its host: that it says nothing of it then does not mean that it is mended. The zero
// value is that of a node which has looked, or whose agent is of a release that does not
// say so.
type unseen struct {
	until  time.Time // zero: the node has looked
	stays  bool      // its agent went before it had looked
	before []kind.Problem
}

// lasts tells whether the node is still to look.
func (u unseen) lasts(now time.Time) bool { return u.stays || now.Before(u.until) }

// begin is for a stream that has begun. n.mu is held, as for all below but inherit.
func (n *node) begin(follow bool, now time.Time) {
	before := n.problems()
	n.reports, n.unseen = nil, unseen{}
	if follow {
		n.unseen = unseen{until: now.Add(mostUnseen), before: before}
	}
}

// problems are all that a node tells of, and those that it told of before it began to
// look.
func (n *node) problems() []kind.Problem {
	out := slices.Clone(n.reports)
	if n.unseen.lasts(time.Now()) {
		out = append(out, n.unseen.before...)
	}
	return out
}

// found takes what a node tells of. What it told of before keeps its date, and stands as
// long as the node is looking and says nothing else about the same.
func (n *node) found(ps []kind.Problem, looking bool) {
	for i, p := range ps {
		for _, was := range n.problems() {
			if was.Subject == p.Subject && was.Cause == p.Cause && was.SinceUnix > 0 && (p.SinceUnix == 0 || was.SinceUnix < p.SinceUnix) {
				ps[i].SinceUnix = was.SinceUnix
			}
		}
	}
	n.reports = ps
	if !looking {
		n.unseen = unseen{}
		return
	}
	n.unseen.before = slices.DeleteFunc(slices.Clone(n.unseen.before), func(was kind.Problem) bool {
		return slices.ContainsFunc(ps, func(p kind.Problem) bool { return p.Subject == was.Subject })
	})
}

// lapse ends what has stood for too long, and tells whether it has just done so.
func (n *node) lapse(now time.Time) bool {
	if n.unseen.until.IsZero() || n.unseen.lasts(now) {
		return false
	}
	n.unseen = unseen{}
	return true
}

// inherit takes what the node told another server, or an earlier run of this one, and
// tells whether that is news.
func (n *node) inherit(stored []kind.Problem) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.unseen.lasts(time.Now()) {
		return false
	}
	n.unseen.before = nil
	for _, p := range stored {
		if !p.Noted && !slices.ContainsFunc(n.reports, func(r kind.Problem) bool { return r.Subject == p.Subject }) {
			n.unseen.before = append(n.unseen.before, p)
		}
	}
	if n.told == nil {
		n.told = map[[2]string]kind.Problem{}
	}
	for _, p := range n.unseen.before { // whoever stored them has told of them
		n.told[[2]string{p.Subject, p.Cause}] = p
	}
	return true
}
