package lab

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// ProxyPort is where a Proxy listens.
const ProxyPort = "3128"

// Manner is what a proxy does with those who ask.
type Manner string

// Manners of proxies.
const (
	Obliging Manner = ""        // connects who has the password
	Garbled  Manner = "garbage" // answers with what is no HTTP
	Mute     Manner = "dead"    // takes connections and never answers
)

// Proxy is what stands between some sites and the rest of the world: it connects
// by HTTP CONNECT (RFC 9110 section 9.3.6), for those who have a password.
type Proxy struct {
	*acceptor
	host           *Host
	user, password string
	manner         Manner

	mu    sync.Mutex
	asked []string // "CONNECT 10.99.0.2:7443 200", one a request
}

// StartProxy listens on ProxyPort of a host. An empty user lets in everybody.
func StartProxy(h *Host, user, password string, manner Manner) (*Proxy, error) {
	l, err := h.listener(netip.AddrPortFrom(h.addrs[0].Addr(), 3128))
	if err != nil {
		return nil, err
	}
	p := &Proxy{host: h, user: user, password: password, manner: manner}
	p.acceptor = accept(l, p.serve)
	h.lab.keep(p)
	return p, nil
}

// Asked are the requests so far, each with the status of its answer.
func (p *Proxy) Asked() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.asked, "\n") + "\n"
}

func (p *Proxy) serve(c net.Conn) {
	r := bufio.NewReader(c)
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	switch p.manner {
	case Garbled:
		p.note(req, 0)
		_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2p1\r\n")
		return
	case Mute:
		p.note(req, 0)
		_, _ = io.Copy(io.Discard, r) // until the other side has had enough
		return
	}
	to, status := p.connect(req)
	p.note(req, status)
	if status != http.StatusOK {
		fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nProxy-Authenticate: Basic realm=\"lab\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status, http.StatusText(status))
		return
	}
	defer to.Close()
	if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	splice(c, r, to)
}

// connect dials for a request, if it may be.
func (p *Proxy) connect(req *http.Request) (net.Conn, int) {
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(p.user+":"+p.password))
	switch {
	case req.Method != http.MethodConnect:
		return nil, http.StatusMethodNotAllowed
	case p.user != "" && req.Header.Get("Proxy-Authorization") != want:
		return nil, http.StatusProxyAuthRequired
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	to, err := p.host.dial(ctx, req.Host)
	if err != nil {
		return nil, http.StatusBadGateway
	}
	return to, http.StatusOK
}

func (p *Proxy) note(req *http.Request, status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, fmt.Sprintf("%s %s %d", req.Method, req.Host, status))
}

// splice copies both ways until both have ended, each half by itself.
func splice(c net.Conn, buffered io.Reader, to net.Conn) {
	var both sync.WaitGroup
	half := func(dst net.Conn, src io.Reader) {
		_, _ = io.Copy(dst, src)
		if w, ok := dst.(interface{ CloseWrite() error }); ok {
			_ = w.CloseWrite()
		}
	}
	both.Go(func() { half(to, buffered) })
	both.Go(func() { half(c, to) })
	both.Wait()
}
