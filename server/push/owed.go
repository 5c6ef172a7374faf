package push

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/kind"
)

// How long the lease of a node that was let in without one answer is waited for
// between two tries; each wait is twice the one before.
const (
	owedFirst = time.Second
	owedMost  = 30 * time.Second
)

// refused notes why the node got no lease, which it cannot be told of by itself
// while it is sent away. That nobody answered is no problem of a node's: the
// silence of the store has its own.
func (s *stream) refused(err error) {
	if err != nil && !decided(err) {
		return
	}
	if s.node.note(leaseSubject, err, "see what is said; the agent asks again by itself") {
		s.hub.observed.node(s.node)
	}
}

// decided tells whether an error is an answer that stands until a person acts.
func decided(err error) bool {
	return errors.Is(err, ipam.ErrFull) || errors.As(err, &kind.InUseError{})
}

// owe gets a node that was let in with what is known what it is owed, its lease, as
// soon as somebody answers. It ends with the stream.
func (s *stream) owe(carried []netip.Prefix) {
	wait := owedFirst
	for {
		t := time.NewTimer(wait/2 + rand.N(wait)) // not all at once
		select {
		case <-s.ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		err := s.acquire(carried)
		if s.ctx.Err() != nil {
			return
		}
		if s.refused(err); err == nil {
			return
		}
		wait = min(2*wait, owedMost)
		s.hub.cfg.Log.Debug("lease not looked up", note.Node, s.name, note.Err, err, note.Retry, wait)
	}
}

// acquire asks for the lease, in its turn among the agents that are let in.
func (s *stream) acquire(carried []netip.Prefix) error {
	select {
	case s.hub.hellos <- struct{}{}:
	case <-s.ctx.Done():
		return s.reason()
	}
	defer func() { <-s.hub.hellos }()
	ctx, cancel := context.WithTimeout(s.ctx, letInWork)
	defer cancel()
	_, err := s.hub.cfg.Leases.Acquire(ctx, s.name, carried)
	return err
}
