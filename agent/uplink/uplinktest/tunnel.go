package uplinktest

import (
	"context"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"

	"github.com/weft-net/weft/tunnel"
)

// Tunnel is an agent's, at the server's end.
type Tunnel struct {
	*tunnel.Conn
	Header http.Header         // of the request
	Shown  []*x509.Certificate // by the agent
}

// RefuseTunnels has f answer GET /v1/tunnel from now on; nil: they are opened.
func (f *Fabric) RefuseTunnels(no http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.no = no
}

func (f *Fabric) serveTunnels(ctx context.Context, l net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/tunnel", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		no := f.no
		f.mu.Unlock()
		if no != nil {
			no(w, r)
			return
		}
		c, err := tunnel.Upgrade(w, r, tunnel.Config{})
		if err != nil {
			return
		}
		context.AfterFunc(ctx, func() { _ = c.Close() })
		f.Tunnels <- &Tunnel{c, r.Header, r.TLS.PeerCertificates}
	})
	s := &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = s.Serve(l) }()
	context.AfterFunc(ctx, func() { _ = s.Close() })
}
