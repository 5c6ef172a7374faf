package egress

import (
	"errors"
	"fmt"
	"net/http"
)

// Code is why a dial did not come about, in one word.
type Code string

// The codes. What the other side does next differs from one to the other.
const (
	Malformed   Code = "Malformed"   // the request cannot be read: ask otherwise
	Forbidden   Code = "Forbidden"   // a rule says no, here or on the node
	Ambiguous   Code = "Ambiguous"   // several nodes have the address: name one
	NoTunnel    Code = "NoTunnel"    // the node speaks with no server
	Unreachable Code = "Unreachable" // who dialled says so: refused, no route, unknown name
	TimedOut    Code = "TimedOut"    // no answer within the time given
	Overloaded  Code = "Overloaded"  // too much at once: come back
	Stopping    Code = "Stopping"    // this server goes: ask another
)

// Refusal is a dial that did not come about. Its text is one line that says what
// failed, on what, and what to do.
type Refusal struct {
	Code   Code
	Rule   string // that said no, of Forbidden
	Reason string
	Remedy string // what to do about it; may be empty
}

// Error implements error.
func (r *Refusal) Error() string {
	if r.Remedy == "" {
		return r.Reason
	}
	return r.Reason + "; " + r.Remedy
}

// Status is the refusal as a status of HTTP (RFC 9110, section 15).
func (r *Refusal) Status() int {
	switch r.Code {
	case Malformed:
		return http.StatusBadRequest
	case Forbidden:
		return http.StatusForbidden
	case NoTunnel, Overloaded, Stopping:
		return http.StatusServiceUnavailable
	case TimedOut:
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

// Refused is the refusal that an error of Dial is, whatever it is.
func Refused(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return &Refusal{Code: Unreachable, Reason: err.Error()}
}

func refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Reason: fmt.Sprintf(format, args...)}
}

// do adds what to do.
func (r *Refusal) do(format string, args ...any) *Refusal {
	r.Remedy = fmt.Sprintf(format, args...)
	return r
}
