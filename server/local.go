package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// endpoint is an HTTP server for this machine: metrics and health, or pprof.
type endpoint struct {
	listener net.Listener
	server   *http.Server
}

// open listens. Without an address it answers nil, which runs and does nothing.
func open(ctx context.Context, flag, address string, h http.Handler) (*endpoint, error) {
	if address == "" {
		return nil, nil
	}
	l, err := listen(ctx, flag, address)
	if err != nil {
		return nil, err
	}
	return &endpoint{l, bounded(h)}, nil
}

// bounded is an HTTP server that no client can hold up.
func bounded(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: handshakeWithin, ReadTimeout: time.Minute, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
}

func (e *endpoint) close() {
	if e != nil {
		_ = e.listener.Close()
	}
}

// run serves until ctx ends.
func (e *endpoint) run(ctx context.Context) error {
	if e == nil {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = e.server.Close() })
	defer stop()
	if err := e.server.Serve(e.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// profiles answers what `go tool pprof` asks.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
