package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
)

// Answer makes an error what goes over the wire, as this package's services do:
// for those that the composition root answers itself.
func Answer(err error) error { return answer(err) }

// answer makes an error what goes over the wire: a code that says whose turn it
// is, and the fields that are wrong.
func answer(err error) error {
	var s interface{ GRPCStatus() *status.Status }
	switch fields, inUse := violations(err); {
	case err == nil:
		return nil
	case errors.As(err, &s):
		return err
	case len(fields) > 0 && inUse:
		return withDetails(codes.FailedPrecondition, err, &errdetails.BadRequest{FieldViolations: fields})
	case len(fields) > 0:
		return withDetails(codes.InvalidArgument, err, &errdetails.BadRequest{FieldViolations: fields})
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	case errors.Is(err, store.ErrConflict):
		return status.Errorf(codes.Aborted, "others write the same all the time; try again (%v)", err)
	case errors.Is(err, store.ErrNotFound):
		return status.Error(codes.NotFound, err.Error())
	case errors.Is(err, store.ErrRefused):
		return status.Error(codes.ResourceExhausted, err.Error())
	}
	return status.Error(codes.Unavailable, err.Error())
}

// asOf adds to a refusal the revision that things stay at.
func (s *Server) asOf(err error) error {
	st := status.Convert(err)
	if c := st.Code(); c != codes.FailedPrecondition && c != codes.InvalidArgument {
		return err
	}
	detailed, failed := st.WithDetails(&errdetails.ErrorInfo{
		Reason: "UNCHANGED", Domain: "weft", Metadata: map[string]string{"revision": fmt.Sprint(s.Hub.Revision())},
	})
	if failed != nil {
		return err
	}
	return detailed.Err()
}

func withDetails(code codes.Code, err error, detail protoadapt.MessageV1) error {
	s := status.New(code, err.Error())
	if detailed, failed := s.WithDetails(detail); failed == nil {
		s = detailed
	}
	return s.Err()
}

// violations finds the fields that an error is about, and whether it is that they
// are in use.
func violations(err error) (fields []*errdetails.BadRequest_FieldViolation, inUse bool) {
	add := func(object, field, problem string) {
		fields = append(fields, &errdetails.BadRequest_FieldViolation{Field: strings.TrimSpace(object + " " + field), Description: problem})
	}
	if many, ok := kind.Fields(err); ok {
		for _, e := range many {
			add(e.Object, e.Field, e.Problem)
		}
		return fields, false
	}
	var used kind.InUseError
	if errors.As(err, &used) {
		add(used.Object, used.Field, used.Problem)
		return fields, true
	}
	for _, l := range leftOut(err) {
		object := kind.ClusterConfig + "/" + kind.DefaultName
		add(object, l.Field, strings.TrimPrefix(l.Error(), object+" "+l.Field+": "))
	}
	return fields, len(fields) > 0
}

// leftOut finds the ranges in an error that leave out leases.
func leftOut(err error) []kind.LeftOut {
	switch e := err.(type) {
	case kind.LeftOut:
		return []kind.LeftOut{e}
	case interface{ Unwrap() []error }:
		var out []kind.LeftOut
		for _, inner := range e.Unwrap() {
			out = append(out, leftOut(inner)...)
		}
		return out
	case interface{ Unwrap() error }:
		return leftOut(e.Unwrap())
	}
	return nil
}

// badField refuses one field of a request.
func badField(field, format string, args ...any) error {
	return answer(kind.FieldError{Field: field, Problem: fmt.Sprintf(format, args...)})
}

func notFound(format string, args ...any) error {
	return status.Errorf(codes.NotFound, format, args...)
}
