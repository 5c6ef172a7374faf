package egress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Headers by which a server hands a dial on to another, with CONNECT, and of the
// answer to it. They count from servers only.
const (
	HeaderHop    = "Weft-Hop" // 1: handed on, never further
	HeaderNode   = "Weft-Node"
	headerDial   = "Weft-Dial" // id
	headerUser   = "Weft-User"
	headerRole   = "Weft-Role"
	headerFront  = "Weft-Front"
	headerWithin = "Weft-Within-Milli"
	headerCode   = "Weft-Code"
	headerRule   = "Weft-Rule"
	headerRemedy = "Weft-Remedy"
)

// maxAnswer bounds the head of another server's answer, in bytes.
const maxAnswer = 16 << 10

// errServer is what a hop answers when the other server is the matter, not the
// target.
var errServer = errors.New("the other server does not take the dial")

// hop hands a dial on to another server.
func (g *Gate) hop(ctx context.Context, d *trace, a aim, server string) (Conn, error) {
	within, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	c, err := g.Others.Dial(within, server)
	if err != nil {
		return nil, fmt.Errorf("%w: server %s: %w", errServer, server, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	out, err := ask(ctx, c, d, a)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = c.Close()
		var r *Refusal
		switch {
		case errors.As(err, &r):
			return nil, r
		case ctx.Err() != nil:
			return nil, failed(ctx, "dial "+a.Request.String()+" over server "+server, err)
		}
		return nil, fmt.Errorf("%w: server %s: %w", errServer, server, err)
	}
	return out, nil
}

// ask sends CONNECT and reads the answer (RFC 9110, section 9.3.6).
func ask(ctx context.Context, c Conn, d *trace, a aim) (Conn, error) {
	target := Request{Host: a.host(), Port: a.Port}.String()
	head := http.Header{HeaderHop: {"1"}, HeaderNode: {a.way.Node}, headerDial: {d.id}}
	for name, value := range map[string]string{headerUser: d.by.User, headerRole: d.by.Role, headerFront: d.by.Front} {
		head.Set(name, url.QueryEscape(value))
	}
	if at, ok := ctx.Deadline(); ok {
		head.Set(headerWithin, strconv.FormatInt(time.Until(at).Milliseconds(), 10))
	}
	r := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target, Host: target}, Host: target, Header: head}
	if err := r.Write(c); err != nil {
		return nil, err
	}
	limit := &io.LimitedReader{R: c, N: maxAnswer}
	in := bufio.NewReader(limit)
	answer, err := http.ReadResponse(in, r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, toldBy(answer)
	}
	limit.N = math.MaxInt64
	return &ahead{Conn: c, in: in}, nil
}

// toldBy is a refusal as another server tells it.
func toldBy(answer *http.Response) error {
	reason, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	r := &Refusal{
		Code: Code(answer.Header.Get(headerCode)), Rule: unescape(answer.Header.Get(headerRule)),
		Reason: strings.TrimSpace(string(reason)), Remedy: unescape(answer.Header.Get(headerRemedy)),
	}
	switch r.Code {
	case Malformed, Forbidden, Ambiguous, NoTunnel, Unreachable, TimedOut, Overloaded, Stopping:
		return r
	}
	return fmt.Errorf("it answers %s: %.200s", answer.Status, r.Reason)
}

func unescape(s string) string {
	out, err := url.QueryUnescape(s)
	if err != nil {
		return ""
	}
	return out
}

// ahead is a connection of which something may have been read already.
type ahead struct {
	Conn
	in *bufio.Reader // nil: all of it was taken
}

// NetConn is the connection beneath, for Abort.
func (c *ahead) NetConn() net.Conn { return c.Conn }

// Read implements net.Conn.
func (c *ahead) Read(b []byte) (int, error) {
	if c.in != nil && c.in.Buffered() > 0 {
		return c.in.Read(b)
	}
	c.in = nil
	return c.Conn.Read(b)
}

// ServeHop answers CONNECT of another server that hands a dial on. held is what the
// server was let in by: its end cuts the connection.
func (g *Gate) ServeHop(w http.ResponseWriter, r *http.Request, held context.Context) {
	to, err := ParseTarget(r.Host)
	by := Asker{
		User: unescape(r.Header.Get(headerUser)), Role: unescape(r.Header.Get(headerRole)),
		Front: unescape(r.Header.Get(headerFront)), From: r.RemoteAddr,
	}
	id := r.Header.Get(headerDial)
	to.Node = r.Header.Get(HeaderNode)
	if err == nil && (to.Node == "" || id == "" || len(id) > maxInstance) {
		err = refuse(Malformed, "a dial that is handed on names its node and has an id of at most %d bytes", maxInstance)
	}
	var c Conn
	if err == nil {
		ctx, cancel := context.WithTimeout(r.Context(), patience(r.Header))
		defer cancel()
		c, err = g.dial(ctx, by, to, id)
	}
	if err != nil {
		no := Refused(err)
		h := w.Header()
		h.Set(headerCode, string(no.Code))
		h.Set(headerRule, url.QueryEscape(no.Rule))
		h.Set(headerRemedy, url.QueryEscape(no.Remedy))
		http.Error(w, no.Reason, no.Status())
		return
	}
	Hand(w, c, held)
}

// patience is how long the other server waits, at most as long as a dial may take.
func patience(h http.Header) time.Duration {
	ms, err := strconv.ParseInt(h.Get(headerWithin), 10, 64)
	if err != nil || ms <= 0 || ms > dialWithin.Milliseconds() {
		return dialWithin
	}
	return time.Duration(ms) * time.Millisecond
}
