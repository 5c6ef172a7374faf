package connect

import (
	"bufio"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxLine is how much of a reason is kept, in bytes.
const maxLine = 1000

// maxRetry is the longest wait that is believed.
const maxRetry = time.Hour

// Refusal is an answer other than success.
type Refusal struct {
	Status int           // RFC 9110, section 15
	Reason string        // one line; empty: none was given
	Retry  time.Duration // after which to ask again; 0: not said
	Header http.Header
}

// Error implements error.
func (r *Refusal) Error() string {
	words := fmt.Sprint(r.Status)
	if t := http.StatusText(r.Status); t != "" {
		words += " " + t
	}
	if r.Reason != "" {
		words += ": " + r.Reason
	}
	return words
}

// Refused reads what an answer gives as its reason: the first line of a text. A
// page for browsers says it in no one line. The body is not closed.
func Refused(answer *http.Response) *Refusal {
	r := &Refusal{Status: answer.StatusCode, Retry: RetryAfter(answer.Header), Header: answer.Header}
	if kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type")); kind == "" || kind == "text/plain" {
		line, _ := bufio.NewReaderSize(answer.Body, maxReason).ReadSlice('\n') // what came of it
		r.Reason = Line(string(line))
	}
	if _, said, ok := strings.Cut(answer.Status, " "); ok && r.Reason == "" && said != http.StatusText(answer.StatusCode) {
		r.Reason = Line(said)
	}
	return r
}

// Line is the first line of a text from outside, fit for a terminal and a log: at
// most 1000 bytes, without control characters.
func Line(s string) string {
	s, _, _ = strings.Cut(strings.TrimLeft(s, "\r\n \t"), "\n")
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	for len(s) > maxLine {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

// RetryAfter is what a header asks to wait, in the form of seconds, at most an hour;
// 0 if it does not (RFC 9110, section 10.2.3).
func RetryAfter(h http.Header) time.Duration {
	n, err := strconv.ParseUint(strings.TrimSpace(h.Get("Retry-After")), 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(n)*time.Second, maxRetry)
}
