package lab

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/weft-net/weft/proto/join"
)

// Front is a front end of a server's that speaks HTTP CONNECT (RFC 9110, section
// 9.3.6), seen by one who uses it.
type Front struct {
	Name string
	dial func(context.Context) (net.Conn, error)
	head string // further lines of each request
}

// SocketFront is the unix socket of the server on a host.
func (f *Fabric) SocketFront(h *Host) Front {
	path := filepath.Join(f.DataDir(h), "egress.sock")
	return Front{Name: "socket of " + h.Name, dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
}

// PortFront is the TLS port of the server on a host, as asked from another one with
// the credentials that this server wrote.
func (f *Fabric) PortFront(h, from *Host) Front {
	return Front{Name: "port of " + h.Name, dial: func(ctx context.Context) (net.Conn, error) {
		credentials, err := join.LoadCredentials(filepath.Join(f.DataDir(h), "admin.yaml"))
		if err != nil {
			return nil, err
		}
		config, err := credentials.TLS()
		if err != nil {
			return nil, err
		}
		config.NextProtos = []string{"http/1.1"}
		conn, err := from.dial(ctx, net.JoinHostPort(f.NodeIPs(h)[0], "7443"))
		if err != nil {
			return nil, err
		}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return secure, nil
	}}
}

// Via names the node whose agent shall dial.
func (f Front) Via(node string) Front {
	f.head += "Weft-Node: " + node + "\r\n"
	return f
}

// Connect asks for a connection to host:port. An answer that is not 200 is an
// error, with its status line and its body.
func (f Front) Connect(ctx context.Context, target string) (net.Conn, error) {
	conn, err := f.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("lab: %s: %w", f.Name, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	through, err := f.ask(conn, target)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lab: %s: CONNECT %s: %w", f.Name, target, err), ctx.Err(), conn.Close())
	}
	return through, nil
}

func (f Front) ask(conn net.Conn, target string) (net.Conn, error) {
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n%s\r\n", target, f.head); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10))
		if text := strings.TrimSpace(string(body)); !strings.Contains(res.Status, text) {
			return nil, fmt.Errorf("%s: %s", res.Status, text)
		}
		return nil, errors.New(res.Status)
	}
	return &readAhead{Conn: conn, r: r}, nil
}

// Raw sends a text as it is and returns what comes back until the other side ends.
func (f Front) Raw(ctx context.Context, text string) (string, error) {
	conn, err := f.dial(ctx)
	if err != nil {
		return "", fmt.Errorf("lab: %s: %w", f.Name, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_, werr := io.WriteString(conn, text) // one that refuses early may not read it all
	b, err := io.ReadAll(io.LimitReader(conn, 64<<10))
	if len(b) == 0 && (err != nil || werr != nil) {
		return "", errors.Join(werr, err)
	}
	return string(b), nil
}

// readAhead is a connection of which something was read already.
type readAhead struct {
	net.Conn
	r *bufio.Reader
}

func (c *readAhead) Read(b []byte) (int, error) { return c.r.Read(b) }

// Get asks for a page through the front end and returns status and body.
func (f Front) Get(ctx context.Context, page string) (string, error) {
	body, err := f.open(ctx, page)
	if err != nil {
		return "", err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	return string(b), err
}

// open asks for a page and returns what comes as it comes.
func (f Front) open(ctx context.Context, page string) (io.ReadCloser, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, target string) (net.Conn, error) { return f.Connect(ctx, target) },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return nil, err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("lab: %s: %s", page, res.Status), res.Body.Close())
	}
	return res.Body, nil
}
