package relay

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/note"
	wire "github.com/weft-net/weft/proto/relay"
	"github.com/weft-net/weft/tunnel"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxInstance bounds wire.HeaderInstance, in bytes.
const maxInstance = 64

// refusal is an answer of HTTP to who gets no connection.
type refusal struct {
	error
	status int
	after  time.Duration // when it may try again; 0: not said
}

// ServeHTTP answers GET Path: it makes the connection an agent's, to be relayed to and
// from.
func (r *Relay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	s, held, release, err := r.welcome(req)
	if err != nil {
		r.turnAway(w, req, err)
		return
	}
	w.Header().Set(wire.HeaderServer, r.cfg.Server)
	conn, err := tunnel.Upgrade(w, req, s.tunnel(r.budget))
	if err != nil {
		release()
		r.tell("relay connection not made", s, err)
		return
	}
	s.conn, s.held, s.release = conn, held, release
	close(s.ready)
	if err := r.enter(s); err != nil {
		_ = conn.Close()
		release()
		r.tell("relay connection refused", s, err)
		return
	}
	r.tell("relay connection came", s, nil)
}

// welcome lets an agent in whose certificate counts, if there is a turn for it and
// nobody else is that node.
func (r *Relay) welcome(req *http.Request) (s *session, held context.Context, release func(), err error) {
	instance, protocol := req.Header.Get(wire.HeaderInstance), req.Header.Get(wire.HeaderProtocol)
	if instance == "" || len(instance) > maxInstance || strings.ContainsFunc(instance, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return nil, nil, nil, refusal{errors.New("the header " + wire.HeaderInstance + " is not 1 to " + strconv.Itoa(maxInstance) + " visible characters of ASCII"), http.StatusBadRequest, 0}
	}
	if _, err := strconv.ParseUint(protocol, 10, 32); err != nil {
		return nil, nil, nil, refusal{errors.New("the header " + wire.HeaderProtocol + " is no number"), http.StatusBadRequest, 0}
	}
	node, held, release, err := r.cfg.Hold(r.life, req)
	if err != nil {
		return nil, nil, nil, err
	}
	if wait, in := r.coming.Come(time.Now()); !in {
		release()
		return nil, nil, nil, refusal{errors.New("many agents come at once; it is not this one's turn yet"), http.StatusServiceUnavailable, wait}
	}
	if err := r.challenge(req.Context(), node, instance); err != nil {
		release()
		return nil, nil, nil, refusal{err, http.StatusConflict, rivalWait}
	}
	return newSession(r, node, instance, req.RemoteAddr), held, release, nil
}

// turnAway says why an agent gets no connection.
func (r *Relay) turnAway(w http.ResponseWriter, req *http.Request, err error) {
	no := refusal{err, http.StatusServiceUnavailable, time.Second}
	if !errors.As(err, &no) {
		switch status.Code(err) {
		case codes.Unauthenticated:
			no = refusal{errors.New(status.Convert(err).Message()), http.StatusUnauthorized, 0}
		case codes.PermissionDenied:
			no = refusal{errors.New(status.Convert(err).Message()), http.StatusForbidden, 0}
		}
	}
	if no.after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((no.after+time.Second-1)/time.Second)))
	}
	w.Header().Set("Connection", "close") // its file may be another's
	http.Error(w, no.Error(), no.status)
	r.cfg.Log.Debug("relay connection refused", note.Conn, req.RemoteAddr, note.Err, no.error)
}
