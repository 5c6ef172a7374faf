package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// hold makes the data folder, if it is not there, and takes it for this process
// until the file that it answers is closed.
func hold(dir string) (*os.File, error) {
	const hint = "the server must be able to write to its data folder: give it one with --data-dir"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("server: %w; %s", err, hint)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("server: %w; %s", err, hint)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		if err = f.Truncate(0); err == nil {
			_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		}
		if err == nil {
			return f, nil
		}
		err = fmt.Errorf("server: %w; %s", err, hint)
	} else if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("server: %s is in use by another weft-server%s; stop it, or give this one a folder of its own with --data-dir", dir, holder(f))
	} else {
		err = fmt.Errorf("server: lock %s: %w", f.Name(), err)
	}
	return nil, errors.Join(err, f.Close())
}

// holder names the process that wrote its pid into the lock.
func holder(f *os.File) string {
	b := make([]byte, 16)
	n, _ := f.ReadAt(b, 0)
	if pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n]))); err == nil {
		return fmt.Sprintf(" (pid %d)", pid)
	}
	return ""
}
