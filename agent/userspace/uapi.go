package userspace

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/device"
)

// Bounds of what root may ask. A peer is some 300 bytes of a request, 420 with a
// pre-shared key and four prefixes over IPv6: ten thousand of them are one request, ten
// times the fabric that weft is made for. All that is held at once is maxHeard of these,
// and a line of each connection.
const (
	maxRequest   = 4 << 20          // bytes
	maxHeard     = 4                // requests at once
	maxAskers    = 64               // connections at once
	maxSetOfLine = 4096             // bytes of a line
	requestTime  = 30 * time.Second // from the first byte to the answer's last
	idleTime     = 5 * time.Minute  // from an answer to the next request's first byte
)

// accept takes connections until the socket or the device ends.
func (d *Device) accept() {
	defer close(d.done)
	gone := make(chan struct{})
	defer close(gone)
	go func() {
		select {
		case <-d.wg.Wait(): // the link was removed
			_ = d.hush()
		case <-gone:
		}
	}()
	slots, heard := make(chan struct{}, maxAskers), make(chan struct{}, maxHeard)
	for {
		c, err := d.uapi.Accept()
		if err != nil {
			return
		}
		d.mu.Lock()
		d.open[c] = true
		d.mu.Unlock()
		slots <- struct{}{}
		d.askers.Add(1)
		go func() {
			defer d.askers.Done()
			d.serve(c, heard)
			d.mu.Lock()
			delete(d.open, c)
			d.mu.Unlock()
			<-slots
		}()
	}
}

// serve answers the requests of one connection. Others are heard meanwhile, but for
// those that heard holds a place for.
func (d *Device) serve(c net.Conn, heard chan struct{}) {
	defer c.Close()
	in := bufio.NewReaderSize(c, maxSetOfLine)
	for {
		if c.SetDeadline(time.Now().Add(idleTime)) != nil {
			return
		}
		if _, err := in.Peek(1); err != nil {
			return
		}
		heard <- struct{}{}
		err := d.once(c, in)
		<-heard
		if err != nil {
			return
		}
	}
}

// errUnknown is of a request that this end does not know.
var errUnknown = errors.New("userspace: neither get=1 nor set=1")

// once answers one request, of which the first byte is there.
func (d *Device) once(c net.Conn, in *bufio.Reader) error {
	if err := c.SetDeadline(time.Now().Add(requestTime)); err != nil {
		return err
	}
	op, body, err := request(in)
	if err != nil {
		return err
	}
	var answer bytes.Buffer
	switch op {
	case "get=1":
		err = d.get(&answer)
	case "set=1":
		err = d.set(body)
	default:
		return errUnknown
	}
	fmt.Fprintf(&answer, "errno=%d\n\n", code(err))
	_, err = c.Write(answer.Bytes())
	return err
}

// request reads one: lines up to an empty one. The first is the operation.
func request(in *bufio.Reader) (op string, body []byte, err error) {
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case err != nil:
			return "", nil, err
		case op == "":
			op = strings.TrimSuffix(string(line), "\n")
		case len(body)+len(line) > maxRequest:
			return "", nil, errors.New("userspace: request is too long")
		case len(line) == 1:
			return op, body, nil
		default:
			body = append(body, line...)
		}
	}
}

// set changes the device. Where IPv6 is switched off, wireguard-go listens on the
// IPv4 port and then forgets which it was (conn.StdNetBind.Open returns that of the
// IPv6 socket), so it is kept here.
func (d *Device) set(body []byte) error {
	if d.cfg.Heard != nil {
		d.cfg.Heard(body)
	}
	d.mu.Lock()
	first := d.told.heard(body, func(key device.NoisePublicKey) bool { return d.wg.LookupPeer(key) != nil })
	d.mu.Unlock()
	err := d.wg.IpcSetOperation(bytes.NewReader(body))
	d.begin(first)
	head, _, _ := strings.Cut("\n"+string(body), "\npublic_key=") // what follows is peers'
	if _, rest, ok := strings.Cut(head, "\nlisten_port="); ok {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.port, _, _ = strings.Cut(rest, "\n"); err != nil {
			d.port = ""
		}
	}
	return err
}

// get writes what the device is.
func (d *Device) get(out *bytes.Buffer) error {
	if err := d.wg.IpcGetOperation(out); err != nil {
		out.Reset()
		return err
	}
	head, _, _ := bytes.Cut(out.Bytes(), []byte("public_key="))
	if bytes.Contains(head, []byte("listen_port=")) {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.port == "" || d.port == "0" || !noIPv6() {
		return nil
	}
	rest := bytes.Clone(out.Bytes()[len(head):])
	out.Truncate(len(head))
	fmt.Fprintf(out, "listen_port=%s\n", d.port)
	out.Write(rest)
	return nil
}

// noIPv6 tells whether the kernel makes no IPv6 sockets (ipv6.disable=1).
func noIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	return errors.Is(err, unix.EAFNOSUPPORT)
}

// code is the number of an error, as wireguard-go gives it.
func code(err error) int64 {
	var coded *device.IPCError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &coded):
		return coded.ErrorCode()
	}
	return -int64(unix.EIO)
}
