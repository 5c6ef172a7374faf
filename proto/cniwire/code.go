package cniwire

import (
	"errors"
	"fmt"
)

// Versions are the versions of the CNI specification that weft speaks, in order.
func Versions() []string { return []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} }

// Code is an error code of the CNI specification, section 5, "Error".
type Code uint

// The codes in use. 50 and 51 belong to STATUS.
const (
	CodeIncompatibleVersion Code = 1
	CodeUnsupportedField    Code = 2
	CodeUnknownContainer    Code = 3 // the runtime need not clean up
	CodeEnvironment         Code = 4
	CodeIO                  Code = 5
	CodeDecoding            Code = 6
	CodeConfig              Code = 7
	CodeNetNS               Code = 8
	CodeTryAgain            Code = 11
	CodeNotAvailable        Code = 50
	CodeLimited             Code = 51
	CodeInternal            Code = 999
)

// Error is an error as the specification wants it.
type Error struct {
	Code    Code   `json:"code"`
	Msg     string `json:"msg"`
	Details string `json:"details,omitempty"`
}

// Error implements error.
func (e *Error) Error() string {
	if e.Details == "" {
		return e.Msg
	}
	return e.Msg + "; " + e.Details
}

// Errorf makes an Error.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Msg: fmt.Sprintf(format, args...)}
}

// AsError returns err as an Error: itself, if it is one or wraps one (then with
// the whole text), else with CodeInternal. It is nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	switch {
	case !errors.As(err, &e):
		return &Error{Code: CodeInternal, Msg: err.Error()}
	case err == error(e):
		return e
	}
	return &Error{Code: e.Code, Msg: err.Error()}
}
