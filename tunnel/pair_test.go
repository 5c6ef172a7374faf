package tunnel

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"
)

// how an end's connection is made.
type wire string

const (
	plain  wire = "plain"  // TCP
	secure wire = "tls"    // TLS with a cork beneath it at both ends
	blind  wire = "blind"  // TLS without
	memory wire = "memory" // net.Pipe, for synctest
)

var wires = []wire{plain, secure, blind, memory}

// certificate is one for both ends of a test.
func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"weft"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// sockets returns the two ends of a connection.
func sockets(t testing.TB, w wire) (near, far net.Conn) {
	t.Helper()
	if w == memory {
		return net.Pipe()
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if near, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	if w == plain {
		return near, far
	}
	if w == secure {
		near, far = NewCork(near), NewCork(far)
	}
	near = tls.Client(near, &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true})
	far = tls.Server(far, &tls.Config{Certificates: []tls.Certificate{certificate(t)}, DynamicRecordSizingDisabled: true})
	return near, far
}

// oneConn is a listener with one connection to give.
type oneConn struct {
	conns chan net.Conn
	addr  net.Addr
}

func (l *oneConn) Accept() (net.Conn, error) {
	conn, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return l.addr }

// upgrade has a web server answer on a connection, and returns the tunnel's end.
func upgrade(t testing.TB, far net.Conn, c Config) <-chan *Conn {
	t.Helper()
	up := make(chan *Conn, 1)
	ln := &oneConn{conns: make(chan net.Conn, 1), addr: far.LocalAddr()}
	ln.conns <- far
	close(ln.conns)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := Upgrade(w, r, c)
		if err != nil {
			t.Errorf("upgrade: %v", err)
		}
		up <- conn
	})}
	go server.Serve(ln)
	return up
}

// join makes a session of two sockets; both ends are closed with the test.
func join(t testing.TB, near, far net.Conn, a, b Config) (client, server *Conn) {
	t.Helper()
	up := upgrade(t, far, b)
	client, _, err := Dial(context.Background(), near, "wss://weft/v1/tunnel", nil, a)
	if err != nil {
		t.Fatal(err)
	}
	server = <-up
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	return client, server
}

// pair makes a session over a wire.
func pair(t testing.TB, w wire) (client, server *Conn) {
	t.Helper()
	near, far := sockets(t, w)
	return join(t, near, far, Config{}, Config{})
}

// open opens a stream from one end to the other.
func open(t testing.TB, from, to *Conn) (near, far *Stream) {
	t.Helper()
	accepted := make(chan *Stream, 1)
	go func() {
		r, err := to.Accept(context.Background())
		if err != nil {
			t.Errorf("accept: %v", err)
			close(accepted)
			return
		}
		s, err := r.Accept()
		if err != nil {
			t.Errorf("accept: %v", err)
		}
		accepted <- s
	}()
	near, err := from.Open(context.Background(), []byte("target"))
	if err != nil {
		t.Fatal(err)
	}
	return near, <-accepted
}
