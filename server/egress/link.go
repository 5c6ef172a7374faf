package egress

import (
	"context"
	"errors"

	rules "github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/tunnel"
)

// Over is a tunnel as a Gate uses it.
func Over(c *tunnel.Conn) Link { return wire{c} }

type wire struct{ *tunnel.Conn }

// Open implements Link.
func (w wire) Open(ctx context.Context, target []byte) (Conn, error) {
	s, err := w.Conn.Open(ctx, target)
	if err != nil {
		return nil, w.why(ctx, err)
	}
	return s, nil
}

// refusals are those of the node's refusals.
var refusals = map[tunnel.Code]Code{
	tunnel.Forbidden: Forbidden, tunnel.TimedOut: TimedOut, tunnel.Overloaded: Overloaded, tunnel.Invalid: Malformed,
}

// why is an error of Open: the node's word, or that the next tunnel may do.
func (w wire) why(ctx context.Context, err error) error {
	var r *tunnel.Refusal
	switch {
	case errors.Is(err, tunnel.ErrSpent):
		w.Drain() // its agent opens the next
		return errGone
	case !errors.As(err, &r):
		if ctx.Err() == nil {
			return errGone
		}
		return err
	case r.Code == tunnel.Draining:
		return errGone
	}
	code, known := refusals[r.Code]
	if !known {
		code = Unreachable
	}
	reason := r.Reason
	if reason == "" {
		reason = r.Code.String()
	}
	out := &Refusal{Code: code, Reason: reason}
	if code == Forbidden {
		out.Rule, out.Reason, _ = rules.CutRule(reason)
	}
	return out
}

// Serve implements Link. Agents open nothing here: dials go the other way.
func (w wire) Serve() error {
	for {
		r, err := w.Accept(context.Background())
		if err != nil {
			<-w.Done()
			return w.Err()
		}
		_ = r.Refuse(tunnel.Forbidden, "a server dials nothing for agents")
	}
}

// Answers implements Link: whatever the other end says to a stream that is for
// nothing is an answer.
func (w wire) Answers(ctx context.Context) bool {
	s, err := w.Conn.Open(ctx, nil)
	if err == nil {
		_ = s.Close()
		return true
	}
	var r *tunnel.Refusal
	return errors.As(err, &r)
}

// End implements Link.
func (w wire) End(error) { go w.Close() }

// Figures implements Link.
func (w wire) Figures() Figures {
	s := w.Stats()
	return Figures{
		RoundTrip: w.RTT(), Streams: s.Streams, Opened: s.Opened, Sent: s.BytesOut, Received: s.BytesIn,
		Stalls: s.WindowStalls, Buffered: uint64(max(s.Held, 0)),
	}
}
