package main

import (
	"context"
	"io"
	"net"
	"net/http"
)

// dialFunc opens a stream to a target behind the agent.
type dialFunc func(ctx context.Context, target string) (net.Conn, error)

// serveFront answers HTTP CONNECT on a unix socket: 200 when dial has succeeded.
func serveFront(socket string, dial dialFunc) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "CONNECT is all that is served here", http.StatusMethodNotAllowed)
			return
		}
		there, err := dial(r.Context(), r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		here, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			there.Close()
			return
		}
		if _, err := io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
			here.Close()
			there.Close()
			return
		}
		splice(here, there)
	})}
	go s.Serve(l) // until the process ends
	return nil
}

// splice copies both ways until both have ended. Where an end cannot close one half
// alone, the end of either direction ends both.
func splice(a, b net.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		flow(a, b)
	}()
	flow(b, a)
	<-done
	a.Close()
	b.Close()
}

func flow(to, from net.Conn) {
	_, err := io.Copy(to, from)
	half, ok := to.(interface{ CloseWrite() error })
	if err != nil || !ok {
		to.Close()
		from.Close()
		return
	}
	if half.CloseWrite() != nil {
		to.Close()
		from.Close()
	}
}
