package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weft-net/weft/cmd/weft/internal/document"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// exit ends the run with a status of its own. A nil err says nothing more.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string { return fmt.Sprintf("exit status %d: %v", e.code, e.err) }

func (e *exit) Unwrap() error { return e.err }

// refused is a write that a server did not do, with the documents that it came from.
type refused struct {
	err  error
	docs []document.Document
}

func (e *refused) Error() string { return e.err.Error() }

func (e *refused) Unwrap() error { return e.err }

// report prints an error and answers with the exit status.
func (c *cli) report(err error) int {
	code := 1
	var e *exit
	if errors.As(err, &e) {
		code, err = e.code, e.err
	}
	if err == nil {
		if e == nil {
			return 0
		}
		return code
	}
	var w *refused
	if errors.As(err, &w) {
		c.reportRefused(w)
		return code
	}
	c.say("error: %s", c.describeError(err))
	return code
}

// reportRefused names each field that was wrong, where it stands in its file,
// and what became of the rest.
func (c *cli) reportRefused(w *refused) {
	s := status.Convert(w.err)
	violations := fieldViolations(s)
	if len(violations) == 0 {
		c.say("error: %s", c.describeError(w.err))
	}
	for _, v := range violations {
		where := ""
		if file, line, ok := document.Locate(w.docs, v.GetField()); ok {
			where = fmt.Sprintf(" (%s:%d)", file, line)
		}
		c.say("error: %s%s: %s", v.GetField(), where, v.GetDescription())
	}
	switch {
	case strings.Contains(s.Message(), "nothing was changed") && len(violations) == 0:
	case isRefusal(s.Code()):
		c.say("nothing was changed%s", revisionOf(s))
	case s.Code() == codes.Unavailable || s.Code() == codes.DeadlineExceeded:
		c.say("whether anything was changed is not known; to repeat is safe")
	}
}

// revisionOf says at which revision things stay, if the server told.
func revisionOf(s *status.Status) string {
	for _, d := range s.Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok && i.GetMetadata()["revision"] != "" {
			return " (revision " + i.GetMetadata()["revision"] + ")"
		}
	}
	return ""
}

func fieldViolations(s *status.Status) []*errdetails.BadRequest_FieldViolation {
	var out []*errdetails.BadRequest_FieldViolation
	for _, d := range s.Details() {
		if b, ok := d.(*errdetails.BadRequest); ok {
			out = append(out, b.GetFieldViolations()...)
		}
	}
	return out
}

// isRefusal tells whether a server answers so before it writes anything.
func isRefusal(code codes.Code) bool {
	switch code {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.PermissionDenied, codes.Unauthenticated,
		codes.NotFound, codes.AlreadyExists, codes.Unimplemented, codes.OutOfRange:
		return true
	}
	return false
}

// describeError says what failed and what to do, without gRPC's words.
func (c *cli) describeError(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	var s interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &s) {
		return err.Error()
	}
	st := s.GRPCStatus()
	if v := fieldViolations(st); len(v) > 0 {
		var lines []string
		for _, f := range v {
			lines = append(lines, f.GetField()+": "+f.GetDescription())
		}
		return strings.Join(lines, "\nerror: ")
	}
	switch st.Code() {
	case codes.Unavailable:
		if why, ok := unreachable(st.Message()); ok {
			return fmt.Sprintf("no answer from %s: %s", c.asked(), why)
		}
		return fmt.Sprintf("%s cannot answer now: %s", c.asked(), st.Message())
	case codes.DeadlineExceeded:
		var own *late
		if errors.As(err, &own) {
			return fmt.Sprintf("no answer from %s within %v (--timeout)", c.asked(), own.took.Round(100*time.Millisecond))
		}
		return fmt.Sprintf("%s cannot answer now: %s", c.asked(), st.Message())
	case codes.Unauthenticated:
		return fmt.Sprintf("%s does not know these credentials: %s", c.asked(), st.Message())
	case codes.PermissionDenied:
		return "not allowed: " + st.Message()
	case codes.Unimplemented:
		return fmt.Sprintf("%s cannot do this: %s; is it of an older release (weft version)?", c.asked(), st.Message())
	}
	return st.Message()
}

// late is a request that our own clock ended: nobody answered it. What a server
// says that waited for another itself is in its own words.
type late struct {
	err  error
	took time.Duration
}

func (e *late) Error() string { return e.err.Error() }

func (e *late) Unwrap() error { return e.err }

// GRPCStatus is that of the request.
func (e *late) GRPCStatus() *status.Status { return status.Convert(e.err) }

// unreachable tells gRPC's own errors of a connection from a server's answer, and
// takes its prefixes off.
func unreachable(message string) (string, bool) {
	ours := false
	for _, prefix := range []string{"name resolver error: ", "connection error: desc = ", "closing transport due to: ", "error reading from server: "} {
		if _, rest, ok := strings.Cut(message, prefix); ok {
			message, ours = rest, true
		}
	}
	message = strings.Trim(message, `"`)
	message = strings.TrimPrefix(message, "transport: ")
	message = strings.TrimPrefix(message, "Error while dialing: ")
	return strings.TrimPrefix(message, "authentication handshake failed: "), ours
}
