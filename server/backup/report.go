package backup

import (
	"context"
	"fmt"
	"strings"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// Report is how backups stand, for weft status.
func (r *Room) Report(ctx context.Context) (*weftv1.BackupStatus, error) {
	s, err := r.State(ctx)
	if err != nil {
		return nil, err
	}
	s = r.stand(ctx, s)
	out := &weftv1.BackupStatus{IntervalSeconds: int64(s.Interval / time.Second), Keep: uint32(s.Keep), Problems: s.problems(r.Now(), r.Interval)}
	if s.Last != nil {
		out.LastUnix, out.Server, out.Name = s.Last.TimeUnix, s.Last.Server, s.Last.Name
	}
	return out, nil
}

// problems is what is wrong with backups: pure. interval is of the schedule as this
// server has it; 0: none.
func (s State) problems(now time.Time, interval time.Duration) (out []*weftv1.Problem) {
	if f := s.Failure; f != nil {
		last := "there is none at all"
		if s.Last != nil {
			last = "the last is of " + time.Unix(s.Last.TimeUnix, 0).UTC().Format(time.RFC3339)
		}
		return []*weftv1.Problem{{
			Subject: "backup", SinceUnix: f.SinceUnix, Cause: fmt.Sprintf("server %s cannot make its backup: %s; %s", f.Server, strings.TrimPrefix(f.Cause, "backup: "), last),
			Remedy: "make room or mend the folder on " + f.Server + " (--backup-dir), then: weft backup save",
		}}
	}
	if s.Gone != nil {
		return []*weftv1.Problem{s.Gone.none()}
	}
	if s.Last == nil || interval <= 0 {
		return nil
	}
	due := time.Unix(s.Last.TimeUnix, 0).Add(2 * interval)
	if now.After(due) {
		out = append(out, &weftv1.Problem{
			Subject: "backup", SinceUnix: due.Unix(),
			Cause:  fmt.Sprintf("the last backup is of %s, and one is due every %v", time.Unix(s.Last.TimeUnix, 0).UTC().Format(time.RFC3339), interval),
			Remedy: "weft backup save; if that goes, look why the leader makes none: journalctl -u weft-server",
		})
	}
	return out
}
