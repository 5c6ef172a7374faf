package dbus

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

// patience bounds all calls of one connection: services do what they are asked before
// they answer.
const patience = 10 * time.Second

// Conn is a connection to a bus, or to a service itself.
type Conn struct {
	conn    net.Conn
	in      *bufio.Reader
	serial  uint32
	signals []message // that came while a call was waited for
}

// mostSignals is how many are kept.
const mostSignals = 1000

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

// System connects to the system bus.
func System(ctx context.Context) (*Conn, error) {
	path, err := address()
	if err != nil {
		return nil, err
	}
	c, err := Direct(ctx, path)
	if err == nil {
		if _, err = c.Call("org.freedesktop.DBus", Call{Path: "/org/freedesktop/DBus", Interface: "org.freedesktop.DBus", Member: "Hello"}); err != nil {
			c.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("system bus: %w", err)
	}
	return c, nil
}

// Direct connects to a service that listens by itself, without a bus.
func Direct(ctx context.Context, path string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	c := &Conn{conn: conn, in: bufio.NewReader(conn)}
	if err := c.greet(); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// greet proves who we are by the socket's credentials (D-Bus specification, "SASL
// Profile").
func (c *Conn) greet() error {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	uid := hex.EncodeToString([]byte(strconv.Itoa(os.Geteuid())))
	if _, err := fmt.Fprintf(c.conn, "\x00AUTH EXTERNAL %s\r\n", uid); err != nil {
		return err
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(line), "OK ") {
		return fmt.Errorf("refused: %.80q", line)
	}
	_, err = fmt.Fprint(c.conn, "BEGIN\r\n")
	return err
}

// Call asks and returns the first value of the answer: a string, a path or a boolean
// as "true"; empty if there is none. An answer that is an error is an *Error.
func (c *Conn) Call(destination string, call Call) (string, error) {
	c.serial++
	if _, err := c.conn.Write(call.marshal(destination, c.serial)); err != nil {
		return "", err
	}
	for {
		r, err := read(c.in)
		if err != nil {
			return "", err
		}
		if r.typ == signal && len(c.signals) < mostSignals {
			c.signals = append(c.signals, r)
		}
		if r.serial != c.serial || r.typ != methodReturn && r.typ != errorReply {
			continue
		}
		value, err := r.first()
		if r.typ == errorReply {
			return "", &Error{call.Member, r.err, value}
		}
		return value, err
	}
}

// Wait returns the values of the first signal of a name that is the one looked for.
// Those that came during calls are looked at first.
func (c *Conn) Wait(member string, is func(values []string) bool) ([]string, error) {
	for {
		var m message
		var err error
		if len(c.signals) > 0 {
			m, c.signals = c.signals[0], c.signals[1:]
		} else if m, err = read(c.in); err != nil {
			return nil, err
		}
		if m.typ != signal || m.member != member {
			continue
		}
		values, err := m.values()
		if err != nil {
			return nil, fmt.Errorf("signal %s: %w", member, err)
		}
		if is(values) {
			return values, nil
		}
	}
}

// Close ends the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// Error is a call that was answered with an error.
type Error struct{ Member, Name, Text string }

func (e *Error) Error() string { return fmt.Sprintf("%s: %s: %s", e.Member, e.Name, e.Text) }
