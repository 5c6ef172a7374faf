package connect

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Bounds on an answer, in bytes and in messages.
const (
	maxHead    = 16 << 10 // of one answer, its interim ones (1xx) included
	maxReason  = 4 << 10  // that are read of a refusal's body
	maxInterim = 4
)

// Ask asks whoever is at the other end of conn for a connection to target,
// HOST:PORT, and returns conn as that connection. header holds further fields; nil:
// none. The context bounds all of it. A refusal is a *Refusal. After an error conn
// is of no more use, and the caller's to close.
func Ask(ctx context.Context, conn net.Conn, target string, header http.Header) (net.Conn, error) {
	request, err := request(target, header)
	if err != nil {
		return nil, err
	}
	release := bound(ctx, conn)
	rest, err := exchange(conn, request)
	late := release()
	switch {
	case errors.As(err, new(*Refusal)): // the end of its reason may be late
		return nil, err
	case late != nil:
		return nil, fmt.Errorf("connect: no answer to CONNECT %s: %w", target, late)
	case err != nil:
		return nil, err
	}
	if len(rest) == 0 {
		return conn, nil
	}
	return &ahead{Conn: conn, rest: rest}, nil
}

// request is what is sent, checked: a name with a line break in it would be a
// field of ours.
func request(target string, header http.Header) ([]byte, error) {
	host, port, err := net.SplitHostPort(target)
	if err != nil || host == "" || port == "" || strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '/' || r == '@' }) {
		return nil, fmt.Errorf("connect: %.80q is no HOST:PORT", target)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", target, target)
	for name, values := range header {
		for _, v := range values {
			if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(v) {
				return nil, fmt.Errorf("connect: field %.80q of the request holds what HTTP forbids", name)
			}
		}
	}
	if err := header.Write(&b); err != nil { // in the order of names
		return nil, err
	}
	b.WriteString("\r\n")
	return b.Bytes(), nil
}

// bound ends reads and writes when ctx does. What it returns lifts that, and says
// whether ctx had ended.
func bound(ctx context.Context, conn net.Conn) (release func() error) {
	past := time.Unix(1, 0)
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetDeadline(past)
		close(ended)
	})
	return func() error {
		if !stop() {
			<-ended
			return ctx.Err()
		}
		_ = conn.SetDeadline(time.Time{}) // if conn is closed, the next read says so
		return nil
	}
}

// exchange returns what the target has said already.
func exchange(conn net.Conn, request []byte) (rest []byte, err error) {
	if _, err := conn.Write(request); err != nil {
		return nil, fmt.Errorf("connect: send CONNECT: %w", err)
	}
	limited := &io.LimitedReader{R: conn, N: maxHead}
	r := bufio.NewReaderSize(limited, 4<<10)
	for range maxInterim {
		answer, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
		switch {
		case err != nil && limited.N <= 0:
			return nil, fmt.Errorf("connect: the answer to CONNECT has a head of more than %d bytes", maxHead)
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, errors.New("connect: the connection was closed instead of an answer to CONNECT")
		case err != nil:
			return nil, fmt.Errorf("connect: the answer to CONNECT is no HTTP: %w", err)
		case answer.StatusCode < 200: // RFC 9110, section 15.2
			continue
		case answer.StatusCode < 300: // a length that it names means nothing
			rest, _ = r.Peek(r.Buffered())
			return bytes.Clone(rest), nil
		}
		limited.N = maxReason
		return nil, Refused(answer) // its body is not closed, which would read all of it
	}
	return nil, fmt.Errorf("connect: more than %d interim answers to CONNECT", maxInterim)
}

// ahead is a connection of which some bytes were read already.
type ahead struct {
	net.Conn
	rest []byte
}

// Read implements net.Conn.
func (a *ahead) Read(p []byte) (int, error) {
	if len(a.rest) == 0 {
		return a.Conn.Read(p)
	}
	n := copy(p, a.rest)
	if a.rest = a.rest[n:]; len(a.rest) == 0 {
		a.rest = nil
	}
	return n, nil
}

// CloseWrite says that nothing more will be written, if the connection below can.
func (a *ahead) CloseWrite() error {
	if c, ok := a.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}
