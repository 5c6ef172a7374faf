package admin

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// maxReason bounds why a node is paused, in bytes.
const maxReason = 200

// Pause implements weftv1.NodesServer. A further one takes the place of the first.
func (s *nodes) Pause(ctx context.Context, r *weftv1.NodesPauseRequest) (*weftv1.NodesPauseResponse, error) {
	if err := s.pausable(ctx, r.GetNode()); err != nil {
		return nil, err
	}
	longest := uint32(intent.MaxPause / time.Second)
	if n := r.GetForSeconds(); n == 0 || n > longest {
		return nil, badField("for_seconds", "%d is out of bounds; accepted: 1 to %d", n, longest)
	}
	if len(r.GetReason()) > maxReason || !utf8.ValidString(r.GetReason()) || strings.ContainsAny(r.GetReason(), "\n\r") {
		return nil, badField("reason", "is no single line of at most %d bytes", maxReason)
	}
	id := make([]byte, 8)
	_, _ = rand.Read(id) // never fails
	spec := kind.PauseSpec{
		ID: hex.EncodeToString(id), Seconds: r.GetForSeconds(), UntilUnix: s.Now().Unix() + int64(r.GetForSeconds()),
		Reason: r.GetReason(), By: s.Actor(ctx),
	}
	value, err := kind.Encode(kind.Pause, kind.Metadata{Name: r.GetNode(), CreatedUnix: s.Now().Unix()}, spec)
	if err != nil {
		return nil, answer(err)
	}
	rev, err := s.Store.Commit(ctx, store.Txn{Then: []store.Write{{Key: kind.Key(kind.Pause, "", r.GetNode()), Value: value}}})
	if err != nil {
		return nil, answer(err)
	}
	message := "no healing for " + (time.Duration(r.GetForSeconds()) * time.Second).String()
	if r.GetReason() != "" {
		message += ": " + r.GetReason()
	}
	s.Journal.Note(journal.Event{Kind: journal.Warning, Object: "Node/" + r.GetNode(), Reason: "Paused", Message: message, Actor: s.Actor(ctx)})
	return &weftv1.NodesPauseResponse{UntilUnix: spec.UntilUnix, Revision: rev}, nil
}

// pausable refuses names that no node has.
func (s *nodes) pausable(ctx context.Context, name string) error {
	if err := intent.ValidName(name); err != nil {
		return badField("node", "%v", err)
	}
	v, _, err := s.read(ctx, parts[kind.Node])
	if err != nil {
		return answer(err)
	}
	if n := v.nodes[name]; n == nil || !n.is() {
		return missing(ref{kind.Node, "", name})
	}
	return nil
}

// Resume implements weftv1.NodesServer.
func (s *nodes) Resume(ctx context.Context, r *weftv1.NodesResumeRequest) (*weftv1.NodesResumeResponse, error) {
	if err := s.pausable(ctx, r.GetNode()); err != nil {
		return nil, err
	}
	key := kind.Key(kind.Pause, "", r.GetNode())
	if _, err := s.Store.Get(ctx, key); errors.Is(err, store.ErrNotFound) {
		return &weftv1.NodesResumeResponse{Revision: s.Hub.Revision()}, nil
	} else if err != nil {
		return nil, answer(err)
	}
	rev, err := s.Store.Commit(ctx, store.Txn{Then: []store.Write{{Key: key}}})
	if err != nil {
		return nil, answer(err)
	}
	s.tell(ctx, "Node/"+r.GetNode(), "Resumed", "it is healed again")
	return &weftv1.NodesResumeResponse{Paused: true, Revision: rev}, nil
}

// EndPauses takes away, on time, that nodes are paused, until ctx ends or the store
// fails; call it again then. The nodes end them by themselves; this is for those
// that come back later.
func (s *Server) EndPauses(ctx context.Context) error {
	prefix := kind.Key(kind.Pause, "", "")
	return s.onTime(ctx, prefix, func(ctx context.Context) (next time.Time, err error) {
		entries, _, err := s.Store.List(ctx, prefix)
		if err != nil {
			return time.Time{}, err
		}
		for _, e := range entries {
			var spec kind.PauseSpec
			_, err := kind.Decode(e.Value, &spec)
			until := time.Unix(spec.UntilUnix, 0)
			if err == nil && until.After(s.Now()) {
				if next.IsZero() || until.Before(next) {
					next = until
				}
				continue
			}
			_, err = s.Store.Commit(ctx, store.Txn{If: []store.Cond{{Key: e.Key, Revision: e.Revision}}, Then: []store.Write{{Key: e.Key}}})
			if err != nil && !errors.Is(err, store.ErrConflict) {
				return time.Time{}, err
			}
			s.Journal.Note(journal.Event{Object: "Node/" + strings.TrimPrefix(e.Key, prefix), Reason: "PauseEnded", Message: "its time was over"})
		}
		return next, nil
	})
}
