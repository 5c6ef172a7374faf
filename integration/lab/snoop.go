package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Snoop reads what goes over a host's wire, as anybody there can, and counts the
// frames in which a flow's packets can be read.
type Snoop struct {
	file   *os.File
	marker []byte
	ended  chan struct{}

	mu    sync.Mutex
	count int
	first []byte
	err   error
}

// snoopBuffer is the room for frames that a reader which is not run for seconds has
// not seen: what it lost, it would not have counted.
const snoopBuffer = 32 << 20 // bytes

// StartSnoop reads the wire of a host, or of its router where it has one, until Stop.
// The flow's packets are known by a number that nothing else has in it.
func (f *Fabric) StartSnoop(h *Host, flow *Flow) (*Snoop, error) {
	h = f.Outside(h)
	s := &Snoop{marker: binary.BigEndian.AppendUint64(nil, flow.echo.cookie), ended: make(chan struct{})}
	err := within(netnsDir+h.sw, func() error {
		port, err := net.InterfaceByName(h.port)
		if err != nil {
			return err
		}
		s.file, err = packetSocket(port.Index)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("lab: snoop on the wire of %s: %w", h.Name, err)
	}
	go s.read()
	f.keep(s)
	return s, nil
}

// packetSocket sees every frame of a device (packet(7)).
func packetSocket(device int) (*os.File, error) {
	all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, snoopBuffer),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: device}))
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "packet socket"), nil
}

func (s *Snoop) read() {
	defer close(s.ended)
	for b := make([]byte, 1<<17); ; {
		n, err := s.file.Read(b)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		s.mu.Lock()
		switch {
		case err != nil: // such as a port that is down
			s.err = err
		case bytes.Contains(b[:n], s.marker):
			if s.count++; s.count == 1 {
				s.first = bytes.Clone(b[:n])
			}
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Stop ends the reading and says how many frames could be read, and the first.
func (s *Snoop) Stop() (count int, first []byte, err error) {
	s.Close()
	return s.count, s.first, s.err
}

// Close ends the reading.
func (s *Snoop) Close() {
	_ = s.file.Close()
	<-s.ended
}
