package kind

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// FieldError says what is wrong with one field of one object, and what is
// accepted.
type FieldError struct {
	Object  string // "ClusterConfig/default"
	Field   string // "spec.clusterCIDRs[0]"; empty when it is the whole object
	Problem string // "10.42.0.1/16 has host bits; did you mean 10.42.0.0/16"
}

// Error implements error.
func (e FieldError) Error() string {
	return strings.TrimLeft(strings.TrimSpace(e.Object+" "+e.Field)+": "+e.Problem, ": ")
}

// FieldErrors is everything wrong with what an operator wrote, in its order.
type FieldErrors []FieldError

// Error implements error, a line a field.
func (es FieldErrors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Fields finds the field errors in an error.
func Fields(err error) (FieldErrors, bool) {
	var many FieldErrors
	var one FieldError
	switch {
	case errors.As(err, &many):
		return many, true
	case errors.As(err, &one):
		return FieldErrors{one}, true
	}
	return nil, false
}

// findings collects what is wrong with one object.
type findings struct {
	object string
	errs   FieldErrors
}

func (f *findings) add(field, format string, args ...any) {
	f.errs = append(f.errs, FieldError{f.object, field, fmt.Sprintf(format, args...)})
}

// more adds what was found later, but for what follows from a field that could
// not be read: that is in f already, itself or an item of it.
func (f *findings) more(later FieldErrors) {
	first := f.errs
	for _, e := range later {
		if !slices.ContainsFunc(first, func(b FieldError) bool { return within(e.Field, b.Field) || within(b.Field, e.Field) }) {
			f.errs = append(f.errs, e)
		}
	}
}

// within tells whether a field is another one or a part of it.
func within(field, of string) bool {
	rest, ok := strings.CutPrefix(field, of)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

func (f *findings) err() error {
	if len(f.errs) == 0 {
		return nil
	}
	return f.errs
}
