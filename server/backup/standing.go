package backup

import (
	"context"
	"slices"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// stand puts right what is said of the last backup, as far as this server can tell
// by itself: one that a server had which was removed, or that is no more in this
// one's folder, is not there. The youngest that a server says it has stands in for
// it. A server that does not answer keeps what it has.
func (r *Room) stand(ctx context.Context, s State) State {
	if s.Last == nil {
		return s
	}
	switch {
	case s.Last.Server == r.Server:
		if files, err := r.Folder.List(); err != nil || has(files, s.Last.Name) {
			return s
		}
	case r.Peers == nil || !r.Peers.Removed(s.Last.Server):
		return s
	}
	return r.insteadOf(ctx, s)
}

// reconcile does so once for all servers, and asks the one that has the last
// backup. It is for the server that keeps the schedule.
func (r *Room) reconcile(ctx context.Context) {
	before, err := r.State(ctx)
	if err != nil || before.Last == nil {
		return
	}
	after := r.stand(ctx, before)
	if last := after.Last; after == before && last.Server != r.Server && r.Peers != nil {
		within, cancel := context.WithTimeout(ctx, listWithin)
		defer cancel()
		if s := r.shelf(within, last.Server); s.err == nil && !has(s.files, last.Name) {
			after = r.insteadOf(ctx, before)
		}
	}
	if after == before {
		return
	}
	r.change(ctx, func(s *State) {
		if s.Last != nil && *s.Last == *before.Last { // nobody made one meanwhile
			s.Last, s.Gone = after.Last, after.Gone
		}
	})
}

// insteadOf has the youngest backup that some server has be the last.
func (r *Room) insteadOf(ctx context.Context, s State) State {
	gone := *s.Last
	s.Last, s.Gone = nil, &gone
	var youngest File
	for _, shelf := range r.shelves(ctx) {
		for _, f := range shelf.files {
			if f.Err == nil && younger(f, youngest) {
				youngest = f
				s.Last, s.Gone = &Made{Server: shelf.server, Name: f.Name, TimeUnix: f.Header.Time.Unix()}, nil
			}
		}
	}
	return s
}

func has(files []File, name string) bool {
	return slices.ContainsFunc(files, func(f File) bool { return f.Name == name && f.Err == nil })
}

// none is the problem of a fabric that had a backup.
func (m Made) none() *weftv1.Problem {
	return &weftv1.Problem{
		Subject: "backup",
		Cause:   "no server has a backup: the last, of " + time.Unix(m.TimeUnix, 0).UTC().Format(time.RFC3339) + ", was on server " + m.Server + ", which has it no more or was removed",
		Remedy:  "weft backup save",
	}
}
