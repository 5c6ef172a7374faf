package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/weft-net/weft/server/egress"
)

// answer is a refusal as it is sent.
type answer struct {
	Status int // RFC 9110, section 15
	Code   egress.Code
	Reason string
}

// Error implements error.
func (a *answer) Error() string { return a.Reason }

func malformed(format string, args ...any) *answer {
	return &answer{http.StatusBadRequest, egress.Malformed, fmt.Sprintf(format, args...)}
}

// answerOf is the answer to an error, whatever it is.
func answerOf(err error) *answer {
	var a *answer
	if errors.As(err, &a) {
		return a
	}
	if !errors.As(err, new(*egress.Refusal)) && errors.Is(err, context.DeadlineExceeded) {
		return answerOf(&egress.Refusal{Code: egress.TimedOut, Reason: "the target was not reached in time"})
	}
	r := egress.Refused(err)
	return &answer{r.Status(), r.Code, r.Error()}
}

// maxPhrase bounds the reason in the first line of an answer, in bytes.
const maxPhrase = 512

// Bounds on what is read of a client that was refused, so that it can read the
// answer: a connection that is closed with bytes unread is reset, and what was on
// its way is lost (RFC 9112, section 9.6).
const (
	lingerBytes = 256 << 10
	lingerTime  = time.Second
)

const established = "HTTP/1.1 200 Connection established\r\n\r\n"

// bytes is the answer in full. The reason stands in the first line as well: of all
// that a proxy says, a kube-apiserver prints that line only.
func (a *answer) bytes() []byte {
	phrase := oneLine(a.Reason)
	body := phrase + "\n"
	if len(phrase) > maxPhrase {
		phrase = phrase[:maxPhrase]
	}
	var again string
	if a.Status == http.StatusServiceUnavailable {
		again = "Retry-After: 1\r\n"
	}
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n%s: %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n%sConnection: close\r\n\r\n%s",
		a.Status, phrase, fieldCode, a.Code, len(body), again, body)
}

// oneLine is a reason without what no first line may hold.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case r < ' ' || r > '~':
			return '?'
		}
		return r
	}, strings.TrimSpace(s))
}

// send sends the answer and lets the client read it. The connection is of no more
// use.
func (a *answer) send(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(lingerTime))
	if _, err := conn.Write(a.bytes()); err != nil {
		return
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(conn, lingerBytes))
	}
}
