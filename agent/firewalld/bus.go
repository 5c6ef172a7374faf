package firewalld

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// defaultBus is where the system bus listens (D-Bus specification, "Well-known
// Message Bus Instances").
const defaultBus = "/run/dbus/system_bus_socket"

// patience bounds all calls of one connection: firewalld changes its rules before
// it answers.
const patience = 10 * time.Second

// bus is a connection to the system bus.
type bus struct {
	conn   net.Conn
	in     *bufio.Reader
	serial uint32
}

// address is the bus's socket.
func address() (string, error) {
	a, ok := os.LookupEnv("DBUS_SYSTEM_BUS_ADDRESS")
	if !ok {
		return defaultBus, nil
	}
	path, ok := strings.CutPrefix(strings.SplitN(a, ",", 2)[0], "unix:path=")
	if !ok {
		return "", fmt.Errorf("DBUS_SYSTEM_BUS_ADDRESS=%s is no unix:path=", a)
	}
	return path, nil
}

func dial(ctx context.Context) (*bus, error) {
	path, err := address()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("system bus: %w", err)
	}
	b := &bus{conn: conn, in: bufio.NewReader(conn)}
	if err := b.greet(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("system bus: %w", err)
	}
	return b, nil
}

// greet proves who we are by the socket's credentials (D-Bus specification, "SASL
// Profile") and takes a name.
func (b *bus) greet() error {
	if err := b.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	uid := hex.EncodeToString([]byte(strconv.Itoa(os.Geteuid())))
	if _, err := fmt.Fprintf(b.conn, "\x00AUTH EXTERNAL %s\r\n", uid); err != nil {
		return err
	}
	line, err := b.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(line), "OK ") {
		return fmt.Errorf("refused: %.80q", line)
	}
	if _, err := fmt.Fprint(b.conn, "BEGIN\r\n"); err != nil {
		return err
	}
	_, err = b.call("org.freedesktop.DBus", call{path: "/org/freedesktop/DBus", iface: "org.freedesktop.DBus", member: "Hello"})
	return err
}

// call asks and returns the first value of the answer.
func (b *bus) call(destination string, c call) (string, error) {
	b.serial++
	if _, err := b.conn.Write(c.marshal(destination, b.serial)); err != nil {
		return "", err
	}
	for {
		r, err := read(b.in)
		if err != nil {
			return "", err
		}
		if r.serial != b.serial || r.typ != methodReturn && r.typ != errorReply {
			continue // a signal
		}
		value, err := r.first()
		if r.typ == errorReply {
			return "", callError{c.member, r.err, value}
		}
		return value, err
	}
}

func (b *bus) close() error { return b.conn.Close() }

// callError is a call that was answered with an error.
type callError struct{ member, name, text string }

func (e callError) Error() string { return fmt.Sprintf("%s: %s: %s", e.member, e.name, e.text) }
