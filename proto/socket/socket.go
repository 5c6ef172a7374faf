package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// MaxPath bounds the path of a socket, in bytes (unix(7), sun_path, with the zero at
// its end).
const MaxPath = 107

// probeTimeout bounds the question whether somebody listens on a socket file.
const probeTimeout = time.Second

// Listen opens a unix socket. flag is what chose the path, for errors.
func Listen(path string, mode fs.FileMode, flag string) (net.Listener, error) {
	if len(path) > MaxPath {
		return nil, fmt.Errorf("socket: %s has %d bytes, and the path of a socket at most %d; choose another with %s", path, len(path), MaxPath, flag)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("socket: make its folder: %w; choose another with %s", err, flag)
	}
	if err := clear(path, flag); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("socket: listen on %s: %w; %s chose it", path, rootCause(err), flag)
	}
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		return nil, fmt.Errorf("socket: %w", err)
	}
	return l, nil
}

// rootCause leaves out the words around a system call's error that say again what
// was listened on.
func rootCause(err error) error {
	var no syscall.Errno
	if errors.As(err, &no) {
		return no
	}
	return err
}

// clear removes what a process that was killed left at path.
func clear(path, flag string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if fi.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("socket: %s is there and is no socket; move it away, or choose another with %s", path, flag)
	}
	if c, err := net.DialTimeout("unix", path, probeTimeout); err == nil {
		c.Close()
		return fmt.Errorf("socket: somebody listens on %s already; stop that, or choose another with %s", path, flag)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("socket: %w", err)
	}
	return nil
}
