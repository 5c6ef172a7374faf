package socks

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Reply is the answer to a request (RFC 1928, section 6).
type Reply byte

// The replies.
const (
	Succeeded          Reply = 0x00
	Failed             Reply = 0x01
	NotAllowed         Reply = 0x02
	NetworkUnreachable Reply = 0x03
	HostUnreachable    Reply = 0x04
	Refused            Reply = 0x05
	Expired            Reply = 0x06
	NoSuchCommand      Reply = 0x07
	NoSuchAddress      Reply = 0x08
)

// Of the protocol (RFC 1928, sections 3 to 5).
const (
	version     = 5
	noAuth      = 0x00
	noMethod    = 0xff
	cmdConnect  = 1
	atypIPv4    = 1
	atypName    = 3
	atypIPv6    = 4
	version4    = 4
	refusedOf4  = 0x5b // of SOCKS4's answer of 8 bytes
	answerOf4   = 8
	maxNameSize = 253 // of a name with its dots (RFC 1035, section 2.3.4)
)

// Accept reads a client's greeting and request and returns the target, HOST:PORT.
// After an error the client has been answered, as far as the protocol has an answer.
func Accept(conn io.ReadWriter) (target string, err error) {
	if err := greet(conn); err != nil {
		return "", err
	}
	head := make([]byte, 4)
	if _, err := io.ReadFull(conn, head); err != nil {
		return "", fmt.Errorf("socks: read the request: %w", err)
	}
	switch {
	case head[0] != version:
		return "", no(conn, Failed, "the request is of version %d, not 5", head[0])
	case head[1] != cmdConnect:
		return "", no(conn, NoSuchCommand, "command %d is not carried, only CONNECT (1)", head[1])
	}
	host, err := readHost(conn, head[3])
	if err != nil {
		return "", err
	}
	port := make([]byte, 2)
	if _, err := io.ReadFull(conn, port); err != nil {
		return "", fmt.Errorf("socks: read the port: %w", err)
	}
	n := int(port[0])<<8 | int(port[1])
	if n == 0 {
		return "", no(conn, Failed, "port 0 of %s cannot be dialled", host)
	}
	return net.JoinHostPort(host, strconv.Itoa(n)), nil
}

// greet agrees on a method.
func greet(conn io.ReadWriter) error {
	head := make([]byte, 2)
	if _, err := io.ReadFull(conn, head); err != nil {
		return fmt.Errorf("socks: read the greeting: %w", err)
	}
	switch {
	case head[0] == version4:
		_, _ = conn.Write(append([]byte{0, refusedOf4}, make([]byte, answerOf4-2)...))
		return errors.New("socks: the client speaks SOCKS4; set it to SOCKS5")
	case head[0] >= 'A' && head[0] <= 'Z':
		return errors.New("socks: the client speaks HTTP; set it to SOCKS5, as socks5h://HOST:PORT")
	case head[0] != version:
		return fmt.Errorf("socks: the client speaks version %d, not 5", head[0])
	}
	methods := make([]byte, head[1])
	if _, err := io.ReadFull(conn, methods); err != nil {
		return fmt.Errorf("socks: read the greeting: %w", err)
	}
	if !slices.Contains(methods, noAuth) {
		_, _ = conn.Write([]byte{version, noMethod})
		return errors.New("socks: the client insists on a user and password; this proxy has none, set it to no authentication")
	}
	if _, err := conn.Write([]byte{version, noAuth}); err != nil {
		return fmt.Errorf("socks: answer the greeting: %w", err)
	}
	return nil
}

// readHost reads an address or a name.
func readHost(conn io.ReadWriter, kind byte) (string, error) {
	size := 0
	switch kind {
	case atypIPv4:
		size = 4
	case atypIPv6:
		size = 16
	case atypName:
		one := make([]byte, 1)
		if _, err := io.ReadFull(conn, one); err != nil {
			return "", fmt.Errorf("socks: read the name: %w", err)
		}
		size = int(one[0])
	default:
		return "", no(conn, NoSuchAddress, "address type %d is not known", kind)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(conn, b); err != nil {
		return "", fmt.Errorf("socks: read the address: %w", err)
	}
	if kind != atypName {
		a, _ := netip.AddrFromSlice(b)
		return a.Unmap().String(), nil
	}
	return readName(conn, string(b))
}

// readName takes a name, or an address written as one.
func readName(conn io.Writer, name string) (string, error) {
	if a, err := netip.ParseAddr(name); err == nil && a.Zone() == "" {
		return a.Unmap().String(), nil
	}
	odd := strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
	})
	if name == "" || len(name) > maxNameSize || odd {
		return "", no(conn, NoSuchAddress, "%.80q is no host name", name)
	}
	return name, nil
}

// no answers, and is the error of it.
func no(conn io.Writer, r Reply, format string, args ...any) error {
	err := fmt.Errorf("socks: "+format, args...)
	return errors.Join(err, Answer(conn, r))
}

// Answer answers a request. The address that it could name is that of another
// machine, so none is named, as is usual.
func Answer(conn io.Writer, r Reply) error {
	if _, err := conn.Write([]byte{version, byte(r), 0, atypIPv4, 0, 0, 0, 0, 0, 0}); err != nil {
		return fmt.Errorf("socks: answer: %w", err)
	}
	return nil
}
