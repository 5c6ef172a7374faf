package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/store"
)

// ready returns when everything that is served has been read.
func (r *rooms) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startWithin, fmt.Errorf("server: the store was not read within %v; is etcd well?", startWithin))
	defer cancel()
	for _, wait := range []func(context.Context) error{
		func(ctx context.Context) error { return r.mirror.WaitRevision(ctx, 1) },
		r.auth.WaitReady,
	} {
		if err := wait(ctx); err != nil {
			return context.Cause(ctx)
		}
	}
	// Not to be known to the others yet is no reason to serve nobody.
	ctx, done := context.WithTimeout(ctx, registerWithin)
	defer done()
	r.room.WaitRegistered(ctx)
	return nil
}

// registerWithin bounds the wait for this server's registration.
const registerWithin = 2 * time.Second

// failed returns when an embedded etcd gave up.
func (r *rooms) failed(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-r.store.Failed():
		return fmt.Errorf("server: the embedded etcd: %w", err)
	}
}

// retryAfter is the pause before the store is followed again.
const retryAfter = time.Second

// keepTrying follows the store until ctx ends: a store that is away comes back,
// one that went back does not.
func keepTrying(ctx context.Context, log *slog.Logger, what string, run func(context.Context) error) error {
	for {
		err := run(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, store.ErrFenced) {
			return err
		}
		if errors.Is(err, store.ErrWentBack) {
			return fmt.Errorf("server: %s: %w; start the server again", what, err)
		}
		log.Warn("store not followed", note.Room, what, note.Err, err, note.Retry, retryAfter)
		if !pause(ctx, retryAfter) {
			return nil
		}
	}
}

func (r *rooms) etcd(ctx context.Context) (*weftv1.EtcdStatus, error) {
	s, err := r.store.Status(ctx)
	if err != nil {
		return nil, err
	}
	return &weftv1.EtcdStatus{Mode: s.Mode, Members: uint32(s.Members), SizeBytes: s.Size, QuotaBytes: s.Quota}, nil
}

// hostName is what a server is called that was given no name.
func hostName() string {
	name, err := os.Hostname()
	name, _, _ = strings.Cut(strings.ToLower(name), ".")
	if err != nil || intent.ValidName(name) != nil {
		return "server"
	}
	return name
}
