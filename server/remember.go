package server

import (
	"context"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/audit"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/push"
)

// lastPages bounds the writing of what is left in the journal when a server stops.
const lastPages = 2 * time.Second

// trail writes down who writes what.
func trail(auth *identity.Authority, j *journal.Journal, hub *push.Hub) *audit.Trail {
	return audit.New(audit.Config{Book: j, Revision: hub.Revision, Caller: func(ctx context.Context) audit.Caller {
		p, serial := auth.Caller(ctx)
		return audit.Caller{User: p.Name, Role: string(p.Role), Serial: serial}
	}})
}

// actor names who calls, for events: "admin ops".
func actor(ctx context.Context) string {
	p, err := identity.FromContext(ctx)
	if err != nil {
		return ""
	}
	return string(p.Role) + " " + p.Name
}

// tell writes down what happened between two epochs, when no rooms are there.
func (s *site) tell(ctx context.Context, opened journal.Store, e journal.Event) {
	j := journal.New(journal.Config{Store: opened, Server: s.own.Name, Log: s.Log})
	j.Note(e)
	ctx, cancel := context.WithTimeout(ctx, lastPages)
	defer cancel()
	if err := j.Flush(ctx); err != nil {
		s.Log.Warn("journal not written", note.Err, err)
	}
}

// remember writes the journal until ctx ends, and then what is left of it.
func (r *rooms) remember(ctx context.Context) error {
	r.journal.Note(journal.Event{Object: "Server/" + r.site.own.Name, Reason: "ServerStarted", Message: "release " + note.Version})
	err := r.journal.Run(ctx)
	r.journal.Note(journal.Event{Object: "Server/" + r.site.own.Name, Reason: "ServerStopped", Message: "it was told to"})
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastPages)
	defer cancel()
	if err := r.journal.Flush(last); err != nil {
		r.Log.Warn("journal not written", note.Err, err)
	}
	return err
}
