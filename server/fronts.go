package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/socket"
	"github.com/weft-net/weft/server/egress"
	"github.com/weft-net/weft/server/egress/connect"
	"github.com/weft-net/weft/server/egress/konnectivity"
	"github.com/weft-net/weft/server/identity"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// noSocket is what a flag says for a socket that is not to be.
const noSocket = "none"

// EgressSocketPath is where CONNECT is answered without a certificate; empty:
// nowhere.
func (c Config) EgressSocketPath() string {
	switch c.EgressSocket {
	case noSocket:
		return ""
	case "":
		return filepath.Join(c.DataDir, "egress.sock")
	}
	return c.EgressSocket
}

// KonnectivitySocketPath is where Konnectivity's service is; empty: nowhere.
func (c Config) KonnectivitySocketPath() string {
	if c.KonnectivitySocket == noSocket {
		return ""
	}
	return c.KonnectivitySocket
}

func (c Config) validateFronts() error {
	if p := c.KonnectivitySocketPath(); p != "" && p == c.EgressSocketPath() {
		return fmt.Errorf("server: --egress-socket and --konnectivity-socket are both %s; they speak different protocols: choose two paths", p)
	}
	return nil
}

// fronts are where dials come in: CONNECT on the TLS port and on a socket, and
// Konnectivity's service on another. Whoever may open a socket may dial: it is
// root's.
type fronts struct {
	others       *queue // of what comes over HTTP/1.1: all that is no dial of a client
	tls          *connect.Server
	local        *connect.Server
	socket       net.Listener // nil: none
	konnectivity *konnectivity.Server
	konnSocket   net.Listener // nil: none
}

// openFronts makes the front ends of the gate, and opens their sockets.
func (r *rooms) openFronts() (err error) {
	f := &fronts{others: newQueue(r.port.tcp.Addr())}
	r.fronts = f
	f.tls = connect.New(connect.Config{Dialer: r.gate, Who: r.guest, Others: f.hand, Log: r.Log})
	f.local = connect.New(connect.Config{Dialer: r.gate, Who: neighbour, Log: r.Log})
	f.konnectivity = konnectivity.New(konnectivity.Config{Dialer: r.gate, By: egress.Asker{Role: egress.Local, Front: "konnectivity"}, Log: r.Log})
	path := r.EgressSocketPath()
	if len(path) > socket.MaxPath && r.EgressSocket == "" {
		r.Log.Warn("egress socket not opened", note.Path, path, note.Why, "the path is too long for a socket", note.Do, "choose a shorter one with --egress-socket; none: --egress-socket none")
		path = ""
	}
	if path != "" {
		if f.socket, err = socket.Listen(path, 0o600, "--egress-socket"); err != nil {
			return fmt.Errorf("server: %w", err)
		}
	}
	if path := r.KonnectivitySocketPath(); path != "" {
		if f.konnSocket, err = socket.Listen(path, 0o600, "--konnectivity-socket"); err != nil {
			return fmt.Errorf("server: %w", err)
		}
	}
	return nil
}

func (f *fronts) close() {
	if f == nil {
		return
	}
	for _, l := range []net.Listener{f.socket, f.konnSocket} {
		if l != nil {
			_ = l.Close()
		}
	}
}

// run takes dials until ctx ends. in is what comes over HTTP/1.1.
func (f *fronts) run(ctx context.Context, in net.Listener) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.tls.Serve(ctx, in) })
	if f.socket != nil {
		g.Go(func() error { return f.local.Serve(ctx, f.socket) })
	}
	if f.konnSocket != nil {
		g.Go(func() error { return f.konnectivity.Serve(ctx, f.konnSocket) })
	}
	return g.Wait()
}

// handWithin bounds how long net/http may take to take a connection.
const handWithin = 5 * time.Second

// hand gives net/http what is no dial of a client.
func (f *fronts) hand(conn net.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), handWithin)
	defer cancel()
	if !f.others.put(ctx, conn) {
		_ = conn.Close()
	}
}

// guest is who dials over TLS, by the certificate.
func (r *rooms) guest(ctx context.Context, conn net.Conn) (connect.Guest, error) {
	c, ok := conn.(*tls.Conn)
	if !ok {
		return connect.Guest{}, fmt.Errorf("server: a connection of type %T asked for a dial", conn)
	}
	ctx = peer.NewContext(ctx, &peer.Peer{Addr: conn.RemoteAddr(), AuthInfo: proven(c)})
	held, release, err := r.auth.Hold(ctx, methodDial)
	if err != nil {
		code := egress.Forbidden
		if status.Code(err) == codes.Unavailable {
			code = egress.Stopping
		}
		return connect.Guest{}, &egress.Refusal{Code: code, Reason: status.Convert(err).Message()}
	}
	p, err := identity.FromContext(held)
	if err != nil {
		release()
		return connect.Guest{}, &egress.Refusal{Code: egress.Forbidden, Reason: status.Convert(err).Message()}
	}
	by := egress.Asker{User: p.Name, Role: string(p.Role), Front: "connect", From: conn.RemoteAddr().String()}
	return connect.Guest{Asker: by, Held: held, Leave: release}, nil
}

// neighbour is who dials over the socket, by the user that the kernel names.
func neighbour(_ context.Context, conn net.Conn) (connect.Guest, error) {
	by := egress.Asker{Role: egress.Local, Front: "socket"}
	if s, ok := conn.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) {
				if who, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
					by.From = "uid " + strconv.FormatUint(uint64(who.Uid), 10)
				}
			})
		}
	}
	return connect.Guest{Asker: by}, nil
}

// shown is a connection that net/http does not know as TLS, because something of it
// was read before.
type shown interface{ ConnectionState() tls.ConnectionState }

type shownKey struct{}

// showing has requests say of such a connection what its handshake has shown.
func showing(srv *http.Server) *http.Server {
	inner := srv.Handler
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if s, ok := c.(shown); ok {
			return context.WithValue(ctx, shownKey{}, s)
		}
		return ctx
	}
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s, ok := r.Context().Value(shownKey{}).(shown); ok && r.TLS == nil {
			state := s.ConnectionState()
			r.TLS = &state
		}
		inner.ServeHTTP(w, r)
	})
	return srv
}
