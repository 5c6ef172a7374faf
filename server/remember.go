package server

import (
	"context"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/journal"
)

// lastPages bounds the writing of what is left in the journal when a server stops.
const lastPages = 2 * time.Second

// remember writes the journal until ctx ends, and then what is left of it.
func (r *rooms) remember(ctx context.Context) error {
	r.journal.Note(journal.Event{Object: "Server/" + serverName(), Reason: "ServerStarted", Message: "release " + note.Version})
	err := r.journal.Run(ctx)
	r.journal.Note(journal.Event{Object: "Server/" + serverName(), Reason: "ServerStopped", Message: "it was told to"})
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastPages)
	defer cancel()
	if err := r.journal.Flush(last); err != nil {
		r.Log.Warn("journal not written", note.Err, err)
	}
	return err
}
