package egress

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/tunnel"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Headers of GET /v1/tunnel.
const (
	HeaderInstance = "Weft-Instance" // of the agent's process: drawn at each of its starts
	HeaderProtocol = "Weft-Protocol" // number of what the agent says
)

// maxInstance bounds HeaderInstance, in bytes.
const maxInstance = 64

// ServeTunnel answers GET /v1/tunnel: it makes the connection an agent's tunnel.
func (g *Gate) ServeTunnel(w http.ResponseWriter, r *http.Request) {
	s, held, release, err := g.welcome(r)
	if err != nil {
		g.turnAway(w, r, err)
		return
	}
	if s.link, err = g.Upgrade(w, r); err != nil {
		release()
		g.Log.Debug("tunnel not made", note.Node, s.node, note.Conn, r.RemoteAddr, note.Err, err)
		return
	}
	if err := g.begin(s, held, release); err != nil {
		s.link.End(err)
		release()
		g.Log.Warn("tunnel refused", note.Node, s.node, note.Conn, r.RemoteAddr, note.Err, err)
	}
}

// begin has a tunnel used, unless the Gate stops.
func (g *Gate) begin(s *session, held context.Context, release func()) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return errStopping
	}
	if err := g.sessions.enter(s); err != nil {
		return err
	}
	g.found.drop(s.node)
	g.Log.Debug("tunnel came", note.Node, s.node, note.Conn, s.from)
	// What stays is another goroutine: the caller's stack is as large as all that was
	// looked at needed.
	g.serving.Go(func() { g.serve(s, held, release) })
	return nil
}

// again is a refusal after whose wait the agent may come back.
type again struct {
	error
	status int
	after  time.Duration
}

// welcome lets an agent in whose certificate counts, if there is a turn for it and
// nobody else is that node.
func (g *Gate) welcome(r *http.Request) (s *session, held context.Context, release func(), err error) {
	instance, protocol := r.Header.Get(HeaderInstance), r.Header.Get(HeaderProtocol)
	number, bad := strconv.ParseUint(protocol, 10, 32)
	switch {
	case instance == "" || len(instance) > maxInstance || strings.ContainsFunc(instance, func(c rune) bool { return c <= ' ' || c > '~' }):
		return nil, nil, nil, refuse(Malformed, "the header %s is not 1 to %d visible characters of ASCII", HeaderInstance, maxInstance)
	case bad != nil:
		return nil, nil, nil, refuse(Malformed, "the header %s is %.20q, which is no number", HeaderProtocol, protocol)
	}
	node, held, release, err := g.Hold(g.life, r)
	if err != nil {
		return nil, nil, nil, err
	}
	if wait, in := g.coming.Come(time.Now()); !in {
		release()
		return nil, nil, nil, again{errors.New("many agents come at once; it is not this one's turn yet"), http.StatusServiceUnavailable, wait}
	}
	if err := g.sessions.challenge(r.Context(), node, instance); err != nil {
		release()
		return nil, nil, nil, again{err, http.StatusConflict, rivalWait}
	}
	return &session{node: node, instance: instance, from: r.RemoteAddr, protocol: uint32(number), since: time.Now()}, held, release, nil
}

// rivalWait is when an agent may try again whose name another one holds.
const rivalWait = 10 * time.Second

// turnAway says why an agent gets no tunnel.
func (g *Gate) turnAway(w http.ResponseWriter, r *http.Request, err error) {
	code, after := http.StatusServiceUnavailable, time.Second
	var wait again
	var no *Refusal
	reason := err.Error()
	switch {
	case errors.As(err, &wait):
		code, after = wait.status, wait.after
	case errors.As(err, &no):
		code, after = no.Status(), 0
	case status.Code(err) == codes.Unauthenticated:
		code, after, reason = http.StatusUnauthorized, 0, status.Convert(err).Message()
	case status.Code(err) == codes.PermissionDenied:
		code, after, reason = http.StatusForbidden, 0, status.Convert(err).Message()
	}
	if after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((after+time.Second-1)/time.Second)))
	}
	w.Header().Set("Connection", "close") // its file may be another's
	http.Error(w, reason, code)
	g.Log.Debug("tunnel refused", note.Conn, r.RemoteAddr, note.Err, reason)
}

// serve holds a tunnel until it ends, or what it was let in by does.
func (g *Gate) serve(s *session, held context.Context, release func()) {
	stop := context.AfterFunc(held, func() { s.link.End(context.Cause(held)) })
	err := s.link.Serve()
	stop()
	why := ended(held, err)
	release()
	g.sessions.leave(s, why)
	g.Log.Debug("tunnel ended", note.Node, s.node, note.Conn, s.from, note.Why, why, note.Err, err)
}

// reasons are the words of ended.
var reasons = []string{"replaced", "closed", "lost", "silent", "revoked", "expired", "stopping"}

// ended is why a tunnel ended, one word of a few: metrics count by it.
func ended(held context.Context, err error) string {
	switch cause := context.Cause(held); {
	case errors.Is(cause, errStopping):
		return "stopping"
	case status.Code(cause) == codes.PermissionDenied:
		return "revoked"
	case status.Code(cause) == codes.Unauthenticated:
		return "expired"
	}
	switch {
	case errors.Is(err, tunnel.ErrDead):
		return "silent"
	case errors.Is(err, tunnel.ErrPeerClosed):
		return "closed"
	case errors.Is(err, net.ErrClosed):
		return "replaced"
	}
	return "lost"
}
