package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/members"
	"github.com/weft-net/weft/server/store"
)

// storeSchema reads the schema of the store, 0 for an empty one. It refuses one
// that a later release has written to, before anything is written.
func storeSchema(ctx context.Context, s store.Store) (found int, revision int64, err error) {
	e, err := s.Get(ctx, keySchema)
	if errors.Is(err, store.ErrNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("server: read the store's schema: %w", err)
	}
	n, err := strconv.Atoi(string(e.Value))
	if err != nil {
		return 0, 0, fmt.Errorf("server: %s is %q and no number; is this store another program's?", keySchema, e.Value)
	}
	if err := schema.Store.Check("the store ("+keySchema+")", n); err != nil {
		return 0, 0, fmt.Errorf("server: %w", err)
	}
	return n, e.Revision, nil
}

// A server that went without a quorum could not sign off: its registration ends by
// itself, some seconds after there is one again.
const (
	signOff      = 20 * time.Second
	signOffCheck = time.Second
)

// noOlder refuses to begin to write a schema that other servers, which run,
// could not read: it is raised while they are down.
func noOlder(ctx context.Context, s store.Store, self string, writes int) error {
	late := time.After(signOff)
	for {
		err := older(ctx, s, self, writes)
		if !errors.As(err, new(olderError)) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return err
		case <-time.After(signOffCheck):
		}
	}
}

// olderError says who runs that could not read what this release writes.
type olderError struct {
	from    int
	to      int
	servers []string
}

func (e olderError) Error() string {
	return fmt.Sprintf("server: this release (%s) raises the schema of the store from %d to %d, which servers that run could not read: %s; stop them, start this one, then them with this release; nothing was changed",
		note.Version, e.from, e.to, strings.Join(e.servers, ", "))
}

func older(ctx context.Context, s store.Store, self string, writes int) error {
	n, _, err := storeSchema(ctx, s)
	if err != nil || n == 0 || n == writes {
		return err
	}
	running, err := members.Live(ctx, s)
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	var names []string
	for _, r := range running {
		if r.Name != self && max(r.Reads, 1) < writes {
			names = append(names, r.Name+" (release "+r.Version+")")
		}
	}
	if len(names) > 0 {
		return olderError{n, writes, names}
	}
	return nil
}

// raiseSchema says in the store that this release writes to it from now on. It
// does nothing if the store says so already.
func raiseSchema(ctx context.Context, s store.Store) error {
	n, revision, err := storeSchema(ctx, s)
	if err != nil || n == schema.Store.Version() {
		return err
	}
	_, err = s.Commit(ctx, store.Txn{
		If:   []store.Cond{{Key: keySchema, Revision: revision}},
		Then: []store.Write{{Key: keySchema, Value: []byte(strconv.Itoa(schema.Store.Version()))}},
	})
	if errors.Is(err, store.ErrConflict) {
		return raiseSchema(ctx, s) // another server did, or one of another release
	}
	if err != nil {
		return fmt.Errorf("server: raise the store's schema: %w", err)
	}
	return nil
}
