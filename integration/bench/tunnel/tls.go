package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// tlsEnd is the yardstick: a TLS connection a stream, dialled by the server to a
// relay that the agent is. It needs the agent to be reachable, which is what tunnels
// are there to do without.
type tlsEnd struct {
	to     string
	config *tls.Config
}

func serveTLS(_ context.Context, s spec) (end, error) {
	c, err := mutual(s.Dir, "server")
	return &tlsEnd{s.Dial, c}, err
}

func (*tlsEnd) sessions() int { return 0 }

func (e *tlsEnd) dial(ctx context.Context, target string) (net.Conn, error) {
	d := tls.Dialer{Config: e.config}
	c, err := d.DialContext(ctx, "tcp", e.to)
	if err != nil {
		return nil, err
	}
	if err := request(c, target); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func agentTLS(ctx context.Context, s spec, _ int) error {
	t, err := mutual(s.Dir, "agent")
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp", s.Listen, t)
	if err != nil {
		return err
	}
	defer l.Close()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go serveRequest(ctx, c)
	}
}

// request names the target to the other end of a bare stream, and waits until it
// says that it has dialled. Two bytes of length, the name; back comes a length too,
// zero for yes, else that of the reason.
func request(c io.ReadWriter, target string) error {
	if err := writeName(c, target); err != nil {
		return err
	}
	reason, err := readName(c)
	if err != nil {
		return err
	}
	if reason != "" {
		return errors.New(reason)
	}
	return nil
}

// serveRequest is the other end of request.
func serveRequest(ctx context.Context, c net.Conn) {
	target, err := readName(c)
	if err != nil {
		c.Close()
		return
	}
	there, err := reach(ctx, target)
	if err != nil {
		_ = writeName(c, err.Error()) // nobody is told if that fails too
		c.Close()
		return
	}
	if err := writeName(c, ""); err != nil {
		c.Close()
		there.Close()
		return
	}
	splice(c, there)
}

func writeName(w io.Writer, s string) error {
	if len(s) > 4096 {
		return fmt.Errorf("%d bytes are too long a name", len(s))
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...))
	return err
}

func readName(r io.Reader) (string, error) {
	var n [2]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return "", err
	}
	b := make([]byte, min(4096, binary.BigEndian.Uint16(n[:])))
	_, err := io.ReadFull(r, b)
	return string(b), err
}
