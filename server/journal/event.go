package journal

import (
	"strings"
	"time"

	"github.com/weft-net/weft/proto/note"
)

// Kinds of events.
const (
	Normal  = "Normal"
	Warning = "Warning" // a person should look
)

// Event is something that happened, as a room tells it.
type Event struct {
	Kind    string `json:"kind"`              // Normal, the default, or Warning
	Object  string `json:"object"`            // what it happened to: Node/n1, Lease/n1, Server/s1, Token/ID, CA, Fabric
	Reason  string `json:"reason"`            // one word: NodeJoined, LeaseGiven, BackupFailed
	Message string `json:"message,omitempty"` // a sentence for a person; no secret
	Actor   string `json:"actor,omitempty"`   // who did it: "admin ops", "node n1"; empty: the server that tells it
}

// Happening is an Event as it is stored.
type Happening struct {
	Event
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"` // of those that were counted together
	Count  int       `json:"count"`
	Server string    `json:"server,omitempty"` // that told it
}

// Lengths in bytes of what a room may tell; what is longer is cut.
const (
	maxObject  = 300
	maxReason  = 64
	maxMessage = 1024
	maxActor   = 300
)

// bounded is an event of a length that can be stored, as valid UTF-8.
func (e Event) bounded() Event {
	if e.Kind != Warning {
		e.Kind = Normal
	}
	e.Object, e.Reason = cut(e.Object, maxObject), cut(e.Reason, maxReason)
	e.Message, e.Actor = cut(note.Redact(e.Message), maxMessage), cut(e.Actor, maxActor)
	return e
}

func cut(s string, most int) string {
	if len(s) > most {
		s = s[:most-3] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
