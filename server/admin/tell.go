package admin

import (
	"context"
	"fmt"

	"github.com/weft-net/weft/server/journal"
)

// maxTold is how many objects of one write are told one by one.
const maxTold = 20

// tell notes what the caller did.
func (s *Server) tell(ctx context.Context, object, reason, format string, args ...any) {
	s.Journal.Note(journal.Event{Object: object, Reason: reason, Message: fmt.Sprintf(format, args...), Actor: s.Actor(ctx)})
}

// tellWritten notes the objects that a write changed.
func (s *Server) tellWritten(ctx context.Context, edits []edit, rev int64) {
	var changed []edit
	for _, e := range edits {
		if e.changed() {
			changed = append(changed, e)
		}
	}
	if len(changed) > maxTold {
		s.tell(ctx, "Fabric", "ObjectsWritten", "%d objects, %s and others, until revision %d", len(changed), changed[0].ref(), rev)
		return
	}
	for _, e := range changed {
		if e.before.revision == 0 {
			s.tell(ctx, e.ref().String(), "Created", "at revision %d", rev)
			continue
		}
		s.tell(ctx, e.ref().String(), "Configured", "at revision %d, from %d", rev, e.before.revision)
	}
}

func (e edit) ref() ref { return ref{e.after.Kind, "", e.after.Metadata.Name} }
