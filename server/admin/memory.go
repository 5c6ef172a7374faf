package admin

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// heard does what reads the store. While the store answers nobody it answers with
// since when instead: then what is remembered is better told than nothing.
func (s *Server) heard(ctx context.Context, read func(context.Context) error) (silent time.Time, err error) {
	if since, _ := s.Silence(); !since.IsZero() {
		return since, nil
	}
	within, cancel := s.whileHeard(ctx)
	defer cancel()
	if err = read(within); err == nil || ctx.Err() != nil {
		return time.Time{}, err
	}
	if since, _ := s.Silence(); !since.IsZero() {
		return since, nil
	}
	if within.Err() != nil { // it fell silent, and is back
		return time.Time{}, status.Error(codes.Unavailable, "the store answered nobody for a moment; ask again")
	}
	return time.Time{}, err
}

// whileHeard is a context that ends when the store falls silent: who reads need
// not wait out the time of a request.
func (s *Server) whileHeard(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() { // ends with ctx
		for {
			since, changed := s.Silence()
			if !since.IsZero() {
				cancel()
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, cancel
}

// remembered is a view of what this server knows without the store.
func (s *Server) remembered(since time.Time) *view {
	v := newView()
	v.silent = since
	for _, e := range s.Remembered() {
		v.take(e)
	}
	for _, n := range v.nodes {
		n.remembered = true
	}
	return v
}

// silentUnix is a moment in seconds since 1970, 0 for none.
func silentUnix(since time.Time) int64 {
	if since.IsZero() {
		return 0
	}
	return since.Unix()
}
