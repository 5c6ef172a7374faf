package connect

import (
	"crypto/tls"
	"net"
)

// ahead is a connection as if what was read of it had not been. One over TLS still
// says who is at its other end, and can end one direction.
func ahead(conn net.Conn, read []byte) net.Conn {
	if t, ok := conn.(*tls.Conn); ok {
		return &tlsAhead{t, read}
	}
	return &plainAhead{conn, read}
}

type tlsAhead struct {
	*tls.Conn
	read []byte
}

// Read implements net.Conn.
func (a *tlsAhead) Read(b []byte) (int, error) {
	if len(a.read) == 0 {
		return a.Conn.Read(b)
	}
	return take(&a.read, b), nil
}

type plainAhead struct {
	net.Conn
	read []byte
}

// Read implements net.Conn.
func (a *plainAhead) Read(b []byte) (int, error) {
	if len(a.read) == 0 {
		return a.Conn.Read(b)
	}
	return take(&a.read, b), nil
}

// take moves bytes, and lets go of the buffer when it is empty.
func take(from *[]byte, to []byte) int {
	n := copy(to, *from)
	if *from = (*from)[n:]; len(*from) == 0 {
		*from = nil
	}
	return n
}
