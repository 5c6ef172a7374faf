package server

import (
	"context"
	"sync"
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

// tell writes down what happened where no rooms are to tell it: between two epochs,
// or before the first.
func (s *site) tell(ctx context.Context, opened journal.Store, e journal.Event) {
	j := s.journal
	if j == nil { // a store that is only made
		j = s.diary(opened)
	}
	j.Note(e)
	ctx, cancel := context.WithTimeout(ctx, lastPages)
	defer cancel()
	if err := j.Flush(ctx); err != nil {
		s.Log.Warn("journal not written", note.Err, err)
	}
}

func (s *site) diary(opened journal.Store) *journal.Journal {
	return journal.New(journal.Config{Store: opened, Server: s.own.Name, Log: s.Log})
}

// remember writes the journal, through all epochs: what was done at the end of one is
// written down in the next. stop ends that, and writes what is left.
func (s *site) remember(opened journal.Store) (stop func()) {
	s.journal = s.diary(opened)
	ctx, cancel := context.WithCancel(context.Background()) // stop ends it: those who serve have something to tell until then
	var writing sync.WaitGroup
	writing.Go(func() { _ = s.journal.Run(ctx) })
	return func() {
		cancel()
		writing.Wait()
		last, done := context.WithTimeout(context.Background(), lastPages)
		defer done()
		if err := s.journal.Flush(last); err != nil {
			s.Log.Warn("journal not written", note.Err, err)
		}
	}
}

// note tells of this server itself.
func (s *site) note(reason, message string) {
	s.journal.Note(journal.Event{Object: "Server/" + s.own.Name, Reason: reason, Message: message})
}
