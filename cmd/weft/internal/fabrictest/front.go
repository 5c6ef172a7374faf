package fabrictest

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Refusal is how a target is refused, as the real front end words it. One without a
// status is not answered at all.
type Refusal struct {
	Status int
	Code   string
	Reason string
}

// port is the one TLS port: h2 is gRPC's, all else is the front end's. It is gRPC's
// listener.
type port struct {
	net.Listener
	f    *Fabric
	h2   chan net.Conn
	done chan struct{}
	once sync.Once
}

func newPort(l net.Listener, f *Fabric) *port {
	p := &port{Listener: l, f: f, h2: make(chan net.Conn), done: make(chan struct{})}
	go p.run()
	return p
}

func (p *port) run() {
	for {
		conn, err := p.Listener.Accept()
		if err != nil {
			return
		}
		go p.greet(tls.Server(conn, p.f.config))
	}
}

func (p *port) greet(conn *tls.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if conn.HandshakeContext(ctx) != nil {
		_ = conn.Close()
		return
	}
	if conn.ConnectionState().NegotiatedProtocol == "http/1.1" {
		defer conn.Close()
		p.front(conn)
		return
	}
	select {
	case p.h2 <- conn:
	case <-p.done:
		_ = conn.Close()
	}
}

// Accept implements net.Listener.
func (p *port) Accept() (net.Conn, error) {
	select {
	case c := <-p.h2:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *port) Close() error {
	p.once.Do(func() { close(p.done) })
	return p.Listener.Close()
}

// front answers CONNECT. A target that is not refused says by which node it was
// dialled, and then what it is told, until it is told no more.
func (p *port) front(conn *tls.Conn) {
	r := bufio.NewReader(conn)
	asked, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	p.f.Lock()
	no, refused := p.f.Refused[asked.RequestURI]
	p.f.Dialled = append(p.f.Dialled, asked.Header.Get("Weft-Node")+" "+asked.RequestURI)
	p.f.Unlock()
	switch {
	case no.Status == 0 && refused: // it says nothing, until it is left
		_, _ = r.ReadByte()
		return
	case asked.Method != http.MethodConnect:
		no, refused = Refusal{Status: http.StatusNotFound, Reason: "404 page not found"}, true
	case asked.TLS != nil, len(conn.ConnectionState().PeerCertificates) == 0:
		no, refused = Refusal{http.StatusForbidden, "Forbidden", "no client certificate was shown"}, true
	}
	if refused {
		body := no.Reason + "\n"
		fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\n", no.Status, no.Reason)
		if no.Code != "" {
			fmt.Fprintf(conn, "Weft-Code: %s\r\n", no.Code)
		}
		fmt.Fprintf(conn, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
		return
	}
	fmt.Fprintf(conn, "HTTP/1.1 200 Connection established\r\n\r\n%s %s\n", asked.Header.Get("Weft-Node"), asked.RequestURI)
	if _, err := io.Copy(conn, r); err == nil {
		_ = conn.CloseWrite()
	}
}

type egress struct {
	weftv1.UnimplementedEgressServer
	f *Fabric
}

// ListTunnels implements the service. A fabric without any is of an older release.
func (s egress) ListTunnels(_ context.Context, r *weftv1.ListTunnelsRequest) (*weftv1.ListTunnelsResponse, error) {
	s.f.Lock()
	defer s.f.Unlock()
	if s.f.Tunnels == nil {
		return nil, status.Error(codes.Unimplemented, "unknown service weft.v1.Egress")
	}
	out := &weftv1.ListTunnelsResponse{Silent: s.f.Silent}
	for _, t := range s.f.Tunnels {
		if r.GetNode() == "" || r.GetNode() == t.GetNode() {
			out.Tunnels = append(out.Tunnels, t)
		}
	}
	return out, nil
}
