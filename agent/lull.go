package agent

import (
	"context"
	"time"

	hostroom "github.com/weft-net/weft/agent/host"
)

// How long others must have left their firewalls alone before weft looks at them
// and writes into their chains, and how long it waits for that. A reload of ufw is
// some hundred commands, each of which the kernel refuses when somebody else's
// change comes between its reading and its writing.
const (
	lullFor  = 400 * time.Millisecond
	lullMost = 3 * time.Second
)

// lull tells when others have come to the end of a change. One that never ends does
// not keep weft waiting for ever.
type lull struct {
	stirs func() uint64 // counts changes of others
	seen  uint64
	over  bool // waited long enough
}

// wait returns when others are quiet, or false when ctx has ended.
func (l *lull) wait(ctx context.Context) bool {
	end := time.Now().Add(lullMost)
	for l.stirs() != l.seen && time.Now().Before(end) {
		l.seen = l.stirs()
		if !pause(ctx, lullFor) {
			return false
		}
	}
	l.over = !time.Now().Before(end)
	return ctx.Err() == nil
}

// broken tells whether others have begun anew since wait returned.
func (l *lull) broken() bool { return !l.over && l.stirs() != l.seen }

// stand is how long a finding must stand before it is told: what a tool drops while
// it loads its own rules is no fault.
const stand = time.Second

// stands remembers since when there is something to say about each subject. The
// words may change from look to look, as counts do.
type stands struct {
	since map[string]time.Time
	young bool
}

// those are the findings about what was found fault with for long enough.
func (s *stands) those(fs []hostroom.Finding, now time.Time) []hostroom.Finding {
	since := map[string]time.Time{}
	var out []hostroom.Finding
	s.young = false
	for _, f := range fs {
		at, ok := s.since[f.Subject]
		if !ok {
			at = now
		}
		since[f.Subject] = at
		if now.Sub(at) < stand {
			s.young = true
			continue
		}
		out = append(out, f)
	}
	s.since = since
	return out
}

// open tells whether there is a finding that may yet come to stand.
func (s *stands) open() bool { return s.young }
