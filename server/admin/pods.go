package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-net/weft/server/kind"
)

// withPods tells, for each lease that is in the way, what would be lost with it.
func (s *Server) withPods(ctx context.Context, err error) error {
	ranges := leftOut(err)
	if len(ranges) == 0 {
		return err
	}
	v, _, failed := s.read(ctx, parts[kind.Lease])
	if failed != nil {
		return err // without the counts it is as true
	}
	var out []error
	for _, r := range ranges {
		for i, l := range r.Leases {
			n := v.node(l.Node)
			r.Leases[i].Note, r.Leases[i].Away = s.note(n), n.is() && s.health(n).state == away
		}
		out = append(out, r)
	}
	return errors.Join(out...)
}

// note is a lease's use in a few words: "41 pods", "empty, away 9d".
func (s *Server) note(n *node) string {
	text := "empty"
	switch {
	case n.endpoints == 1:
		text = "1 pod"
	case n.endpoints > 1:
		text = fmt.Sprintf("%d pods", n.endpoints)
	case !n.is():
		return "reserved"
	}
	if h := s.health(n); h.state == away && h.push.HeardUnix > 0 {
		text += ", away " + age(s.Now().Sub(time.Unix(h.push.HeardUnix, 0)))
	}
	return text
}

// age is a duration as operators read it: 42s, 5m, 3h, 9d.
func age(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(max(d, 0).Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
