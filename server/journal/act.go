package journal

import (
	"time"

	"github.com/weft-net/weft/proto/note"
)

// Act is one write that somebody asked for, done or refused.
type Act struct {
	At      time.Time `json:"at"`
	User    string    `json:"user,omitempty"`    // name in the certificate
	Role    string    `json:"role,omitempty"`    // of the certificate
	Serial  string    `json:"serial,omitempty"`  // of the certificate, hex
	From    string    `json:"from,omitempty"`    // address
	Method  string    `json:"method"`            // weft.v1.Resources/Apply
	Verb    string    `json:"verb,omitempty"`    // apply, delete, create
	Objects []string  `json:"objects,omitempty"` // Node/n1, at most 100
	Before  int64     `json:"before,omitempty"`  // revision of the fabric when it was asked
	After   int64     `json:"after,omitempty"`   // revision that it made; 0: none
	Outcome string    `json:"outcome"`           // OK, or the code of the refusal: PermissionDenied
	Message string    `json:"message,omitempty"` // of a refusal
	Count   int       `json:"count,omitempty"`   // of refusals alike that were counted together; 0 and 1 are one
}

// maxObjects is how many objects of one write are named.
const maxObjects = 100

func (a Act) bounded() Act {
	a.User, a.Role, a.Serial, a.From = cut(a.User, maxActor), cut(a.Role, maxReason), cut(a.Serial, maxReason), cut(a.From, maxReason)
	a.Method, a.Verb, a.Outcome = cut(a.Method, maxObject), cut(a.Verb, maxReason), cut(a.Outcome, maxReason)
	a.Message = cut(note.Redact(a.Message), maxMessage)
	if len(a.Objects) > maxObjects {
		a.Objects = a.Objects[:maxObjects:maxObjects]
	}
	objects := make([]string, len(a.Objects))
	for i, o := range a.Objects {
		objects[i] = cut(note.Redact(o), maxObject)
	}
	a.Objects = objects
	return a
}
