// Package relay carries bytes between two connections, each direction until its own
// end: who has said all may still listen.
//
// Both owns one goroutine beside its caller's, and has ended it when it returns.
package relay

import (
	"context"
	"errors"
	"io"
	"net"
)

// Half is a connection that can end one direction.
type Half interface {
	net.Conn
	CloseWrite() error
}

// Both carries bytes between a and b until both directions have ended, one of them
// has failed, or ctx ends. It closes both. The error is the first failure.
func Both(ctx context.Context, a, b Half) error {
	shut := func() {
		_ = a.Close()
		_ = b.Close()
	}
	defer shut()
	stop := context.AfterFunc(ctx, shut)
	defer stop()
	there := make(chan error, 1)
	go func() { there <- carry(a, b, shut) }()
	back := carry(b, a, shut)
	first := <-there
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(first, net.ErrClosed) || first == nil {
		first, back = back, first
	}
	if errors.Is(first, net.ErrClosed) { // by the other direction, which had nothing to say
		return back
	}
	return first
}

// carry carries one direction, and ends both if it fails.
func carry(from, to Half, shut func()) error {
	_, err := io.Copy(to, from)
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		shut()
	}
	return err
}
