package lab

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// Web is an HTTP service in a host's or a pod's namespace:
//
//	GET  /          tells who answers, on which address, and whom it saw asking
//	GET  /bytes?n=1000  so many zeros; without n, zeros for as long as they are taken
//	GET  /ticks     a line every 20 ms, with its number
//	POST /sink      takes what comes and tells how many bytes that were
//	GET  /slow?ms=500   answers after a while
type Web struct {
	server http.Server
	ended  chan struct{}
}

// StartWeb serves on an address and a port of the host until Close, or the lab's.
func StartWeb(h *Host, addr netip.AddrPort) (*Web, error) {
	l, err := h.listener(addr)
	if err != nil {
		return nil, err
	}
	w := &Web{ended: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(out http.ResponseWriter, req *http.Request) {
		local, _ := req.Context().Value(http.LocalAddrContextKey).(net.Addr)
		from, _, _ := net.SplitHostPort(req.RemoteAddr)
		fmt.Fprintf(out, "this is %s, asked on %v by %s\n", h.Name, local, from)
	})
	mux.HandleFunc("GET /bytes", bytesOf)
	mux.HandleFunc("GET /ticks", ticks)
	mux.HandleFunc("POST /sink", func(out http.ResponseWriter, req *http.Request) {
		n, err := io.Copy(io.Discard, req.Body)
		fmt.Fprintf(out, "%d bytes, %v\n", n, err)
	})
	mux.HandleFunc("GET /slow", func(out http.ResponseWriter, req *http.Request) {
		ms, _ := strconv.Atoi(req.FormValue("ms"))
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
			fmt.Fprintln(out, "at last")
		case <-req.Context().Done():
		}
	})
	w.server.Handler = mux
	go func() {
		defer close(w.ended)
		_ = w.server.Serve(l)
	}()
	h.lab.keep(w)
	return w, nil
}

// Close ends the service and its connections.
func (w *Web) Close() {
	_ = w.server.Close()
	<-w.ended
}

func bytesOf(out http.ResponseWriter, req *http.Request) {
	left := int64(-1)
	if n := req.FormValue("n"); n != "" {
		var err error
		if left, err = strconv.ParseInt(n, 10, 64); err != nil {
			http.Error(out, err.Error(), http.StatusBadRequest)
			return
		}
		out.Header().Set("Content-Length", n)
	}
	for chunk := make([]byte, 64<<10); left != 0; {
		n := len(chunk)
		if left > 0 {
			n = int(min(left, int64(n)))
			left -= int64(n)
		}
		if _, err := out.Write(chunk[:n]); err != nil {
			return
		}
	}
}

func ticks(out http.ResponseWriter, req *http.Request) {
	flush := http.NewResponseController(out)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		if _, err := fmt.Fprintf(out, "%d\n", n); err != nil || flush.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-req.Context().Done():
			return
		}
	}
}
