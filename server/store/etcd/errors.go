package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/weft-net/weft/server/store"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// errClosed is the answer of a store that was closed.
var errClosed = errors.New("the store is closed")

// explain says what an error of etcd means to weft, and what to do about it.
func (s *Store) explain(ctx context.Context, what string, err error) error {
	switch {
	case s.client.Ctx().Err() != nil:
		return fmt.Errorf("etcd: %s: %w", what, errClosed)
	case errors.Is(err, rpctypes.ErrCompacted):
		return fmt.Errorf("etcd: %s: %w", what, store.ErrCompacted)
	case errors.Is(err, rpctypes.ErrTooManyOps), errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrDuplicateKey):
		return fmt.Errorf("etcd: %s: %w by etcd: %w; its --max-txn-ops and --max-request-bytes must be the defaults or more", what, store.ErrRefused, err)
	case errors.Is(err, rpctypes.ErrUnhealthy), errors.Is(err, rpctypes.ErrMemberNotEnoughStarted):
		return fmt.Errorf("etcd: %s: %w", what, store.ErrQuorum)
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("etcd: %s: %w: etcd is full and takes no writes; look what fills it (weft status), compact, defragment, then disarm its alarm", what, err)
	case errors.Is(err, rpctypes.ErrUserEmpty), errors.Is(err, rpctypes.ErrPermissionDenied) && s.config.User == "":
		return fmt.Errorf("etcd: %s: %w: this etcd asks for a user; set --etcd-user and --etcd-password-file", what, err)
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("etcd: %s: %w: user %q may not; in etcd: etcdctl role grant-permission ROLE --prefix=true readwrite %s", what, err, s.config.User, store.Root)
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("etcd: %s: %w", what, ctx.Err())
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.Is(err, context.DeadlineExceeded), status.Code(err) == codes.Unavailable:
		return fmt.Errorf("etcd: %s: %s does not answer: %w", what, s.where(), err)
	}
	return fmt.Errorf("etcd: %s: %w", what, err)
}

func (s *Store) where() string {
	if s.server != nil {
		return "the embedded etcd"
	}
	return strings.Join(s.config.Endpoints, ", ")
}
