package konnectivity

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/weft-net/weft/server/egress"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	proxy "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
)

// maxOfStream bounds the connections of one stream, those under way among them.
const maxOfStream = 256

// closeWithin is how long a target may take what is left when its connection is
// closed: as long as Konnectivity's client waits.
const closeWithin = 10 * time.Second

// stream is one call of Proxy.
type stream struct {
	server *Server
	ctx    context.Context // ends with the call
	wire   proxy.ProxyService_ProxyServer

	sending sync.Mutex // one packet is sent at a time

	mu     sync.Mutex
	dials  map[int64]context.CancelFunc // by the number that the client has drawn
	conns  map[int64]*conn              // by the number that we gave
	shared bool                         // it has carried two at one time

	working sync.WaitGroup
}

// take does what a packet asks for. It waits only for a connection that is the only
// one.
func (s *stream) take(p *proxy.Packet) error {
	switch p.GetType() {
	case proxy.PacketType_DIAL_REQ:
		if r := p.GetDialRequest(); r != nil {
			return s.dial(r)
		}
	case proxy.PacketType_DIAL_CLS:
		if r := p.GetCloseDial(); r != nil {
			s.forget(r.GetRandom())
			return nil
		}
	case proxy.PacketType_DATA:
		if r := p.GetData(); r != nil {
			s.data(r.GetConnectID(), r.GetData())
			return nil
		}
	case proxy.PacketType_CLOSE_REQ:
		if r := p.GetCloseRequest(); r != nil {
			s.close(r.GetConnectID())
			return nil
		}
	}
	return status.Errorf(codes.InvalidArgument, "packet %v with %T is none that a client sends", p.GetType(), p.GetPayload())
}

// send sends a packet, after those that are being sent.
func (s *stream) send(p *proxy.Packet) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.wire.Send(p)
}

// dial begins a dial, or says why not.
func (s *stream) dial(r *proxy.DialRequest) error {
	to, err := wanted(r)
	ctx, cancel := context.WithTimeout(s.ctx, s.server.DialWithin)
	if err == nil {
		err = s.begin(r.GetRandom(), cancel)
	}
	if err != nil {
		cancel()
		return s.answer(r.GetRandom(), 0, err)
	}
	s.working.Go(func() {
		defer cancel()
		c, err := s.server.Dialer.Dial(ctx, s.server.By, to)
		s.server.dials.Add(-1)
		s.settle(r.GetRandom(), c, err)
	})
	return nil
}

func wanted(r *proxy.DialRequest) (egress.Request, error) {
	if r.GetProtocol() != "tcp" {
		return egress.Request{}, &egress.Refusal{Code: egress.Malformed, Reason: "protocol " + quoted(r.GetProtocol()) + " is not dialled; accepted: tcp"}
	}
	return egress.ParseTarget(r.GetAddress())
}

// begin notes a dial, if there is room for it.
func (s *stream) begin(random int64, cancel context.CancelFunc) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch _, twice := s.dials[random]; {
	case twice:
		return &egress.Refusal{Code: egress.Malformed, Reason: "a dial of this number is under way already"}
	case len(s.dials)+len(s.conns) >= maxOfStream:
		return &egress.Refusal{Code: egress.Overloaded, Reason: "the stream has too many connections", Remedy: "open another stream"}
	case s.server.dials.Add(1) > int64(s.server.MaxDials):
		s.server.dials.Add(-1)
		return &egress.Refusal{Code: egress.Overloaded, Reason: "too many dials are under way here", Remedy: "ask again in a moment"}
	}
	s.dials[random] = cancel
	s.shared = s.shared || len(s.dials)+len(s.conns) > 1
	if s.shared {
		for _, c := range s.conns {
			c.in.share()
		}
	}
	return nil
}

// forget ends a dial that the client does not want any more.
func (s *stream) forget(random int64) {
	s.mu.Lock()
	cancel := s.dials[random]
	delete(s.dials, random)
	s.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

// settle tells the client what became of a dial, and begins the connection. Of a
// dial that was forgotten nothing is told.
func (s *stream) settle(random int64, target egress.Conn, err error) {
	s.mu.Lock()
	_, wanted := s.dials[random]
	delete(s.dials, random)
	if err != nil || !wanted || s.ctx.Err() != nil {
		s.mu.Unlock()
		if err == nil {
			_ = target.Close()
		} else if wanted {
			_ = s.answer(random, 0, err)
		}
		return
	}
	c := &conn{stream: s, id: s.server.last.Add(1), target: target, in: newQueue(s.shared)}
	s.conns[c.id] = c
	s.mu.Unlock()
	if err := s.answer(random, c.id, nil); err != nil {
		s.drop(c)
		_ = target.Close()
		return
	}
	c.run()
}

func (s *stream) answer(random, id int64, err error) error {
	r := &proxy.DialResponse{Random: random, ConnectID: id}
	if errors.Is(err, context.DeadlineExceeded) && !errors.As(err, new(*egress.Refusal)) {
		err = &egress.Refusal{Code: egress.TimedOut, Reason: "the target was not reached in time"}
	}
	if err != nil {
		refusal := egress.Refused(err)
		r.Error = string(refusal.Code) + ": " + refusal.Error()
	}
	return s.send(&proxy.Packet{Type: proxy.PacketType_DIAL_RSP, Payload: &proxy.Packet_DialResponse{DialResponse: r}})
}

func (s *stream) find(id int64) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[id]
}

// drop forgets a connection. It answers false if that has been done.
func (s *stream) drop(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, there := s.conns[c.id]
	delete(s.conns, c.id)
	if there && c.late != nil {
		c.late.Stop()
	}
	return there
}

// data hands bytes to a connection. One that has ended meanwhile gets none: the
// client was told, or will be.
func (s *stream) data(id int64, b []byte) {
	c := s.find(id)
	if c == nil || len(b) == 0 {
		return
	}
	if !c.in.put(s.ctx, b) {
		s.working.Go(func() {
			c.end("its target takes nothing, and others share the stream; one stream a connection waits instead")
		})
	}
}

// close ends a connection because the client wants it, after what it has sent.
func (s *stream) close(id int64) {
	c := s.find(id)
	if c == nil {
		_ = s.closed(id, "")
		return
	}
	s.mu.Lock()
	if c.late == nil {
		c.late = time.AfterFunc(closeWithin, func() { c.end("its target did not take in time what was left") })
	}
	s.mu.Unlock()
	c.in.finish()
}

// closed tells the client that a connection has ended.
func (s *stream) closed(id int64, why string) error {
	return s.send(&proxy.Packet{Type: proxy.PacketType_CLOSE_RSP, Payload: &proxy.Packet_CloseResponse{CloseResponse: &proxy.CloseResponse{ConnectID: id, Error: why}}})
}
