package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/kind"
)

// Of ephemeral nodes.
const (
	ephemeralGrace = time.Hour   // after one was last heard
	ephemeralCheck = time.Minute // between looks
)

// Leave deletes an ephemeral node that says goodbye.
func (s *Server) Leave(ctx context.Context, node string) error {
	_, err := s.removeNode(ctx, node, s.Revocation)
	return err
}

// ExpireEphemeral deletes ephemeral nodes that have been away for an hour, until
// ctx ends. It is the work of one server. The hour begins anew with it: while
// nobody listened, nobody was away.
func (s *Server) ExpireEphemeral(ctx context.Context) error {
	began := s.Now()
	tick := time.NewTicker(ephemeralCheck)
	defer tick.Stop()
	for {
		if err := s.expireEphemeral(ctx, began); err != nil && ctx.Err() == nil {
			s.Log.Warn("ephemeral nodes not looked at", note.Err, err, note.Retry, ephemeralCheck)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// expireEphemeral is one look.
func (s *Server) expireEphemeral(ctx context.Context, began time.Time) error {
	names := s.Ephemeral()
	if len(names) == 0 {
		return nil
	}
	v, _, err := s.read(ctx, parts[kind.Node])
	if err != nil {
		return err
	}
	for _, name := range names {
		n := v.nodes[name]
		if n == nil || !n.is() {
			continue
		}
		h := s.health(n)
		heard := time.Unix(max(h.push.HeardUnix, n.created(), began.Unix()), 0)
		if h.state != away || s.Now().Sub(heard) < ephemeralGrace {
			continue
		}
		if _, err := s.removeNode(ctx, name, s.Expiry); err != nil {
			return fmt.Errorf("admin: delete ephemeral node %s: %w", name, err)
		}
		s.tell(ctx, "Node/"+name, "NodeExpired", "it was ephemeral, and away for %v", ephemeralGrace)
	}
	return nil
}
