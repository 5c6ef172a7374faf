package tunnel

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Code says why a stream was refused or reset, or why a session ends.
type Code uint8

// The codes. An unknown number of a newer peer is Unknown to us.
const (
	Unknown     Code = iota // no better one
	Refused                 // the target answered that nobody listens there
	Unreachable             // no way to the target, or no name that resolves
	Forbidden               // not permitted
	TimedOut                // the deadline of the opener passed
	Overloaded              // a limit of this end is reached; later may do
	Draining                // this end takes no new streams; another session may
	Invalid                 // the target cannot be understood
	Canceled                // the opener gave up
	Reset                   // an application's reset
	Closed                  // the reader is gone: what is still sent is thrown away
	Violation               // the peer broke the protocol
)

var codeNames = [...]string{
	"unknown", "refused", "unreachable", "forbidden", "timed out", "overloaded",
	"draining", "invalid", "canceled", "reset", "closed", "violation",
}

// String implements fmt.Stringer.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// Refusal is the other end's no to a stream that was to be opened.
type Refusal struct {
	Code   Code
	Reason string // for people; at most 1 KiB
}

// Error implements error.
func (r *Refusal) Error() string {
	if r.Reason == "" {
		return "tunnel: the other end refused the stream: " + r.Code.String()
	}
	return "tunnel: the other end refused the stream: " + r.Code.String() + ": " + r.Reason
}

// ResetError is what reading and writing give after a stream was reset.
type ResetError struct {
	Code   Code
	Reason string
	Remote bool // by the other end
}

// Error implements error.
func (r *ResetError) Error() string {
	who := "this end"
	if r.Remote {
		who = "the other end"
	}
	if r.Reason == "" {
		return "tunnel: stream reset by " + who + ": " + r.Code.String()
	}
	return "tunnel: stream reset by " + who + ": " + r.Code.String() + ": " + r.Reason
}

// Is makes a reset that only says that the reader is gone a broken pipe.
func (r *ResetError) Is(err error) bool { return err == io.ErrClosedPipe && r.Code == Closed }

var (
	// ErrDead ends a session whose other end was silent for longer than DeadAfter.
	ErrDead = errors.New("tunnel: the other end is silent")
	// ErrPeerClosed ends a session that the other end closed.
	ErrPeerClosed = errors.New("tunnel: the other end closed the session")
	// ErrSpent ends the opening of streams on a session that has opened 2^30 of them.
	ErrSpent = errors.New("tunnel: the session has no more stream numbers; open a new session")
)

// parseReason decodes the payload of REFUSE, RESET and GOAWAY; b is not kept.
func parseReason(b []byte) Refusal {
	r := Refusal{Code: Code(b[0]), Reason: string(b[1:])}
	if int(r.Code) >= len(codeNames) {
		r.Code = Unknown
	}
	if !utf8.ValidString(r.Reason) {
		r.Reason = strings.ToValidUTF8(r.Reason, "?")
	}
	return r
}
