package detached

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Hold takes a file for this process, and leaves our pid in it. One that another process
// has is waited for as long as patience says: it may be about to end.
func Hold(path string, patience time.Duration) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("detached: %w", err)
	}
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		f, err := Try(path)
		switch {
		case err == nil && f != nil:
			return f, nil
		case err != nil && (!errors.Is(err, unix.EWOULDBLOCK) || time.Since(start) >= patience):
			return nil, fmt.Errorf("detached: lock %s: %w", path, err)
		}
	}
}

// Try takes a file if nobody has it. No file and no error mean that one who ended took
// it away meanwhile.
func Try(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("process %d has it already: %w", holder(f), err)
	}
	var held, there unix.Stat_t
	if err == nil {
		err = unix.Fstat(int(f.Fd()), &held)
	}
	if err == nil && (unix.Stat(path, &there) != nil || there.Ino != held.Ino) {
		return nil, f.Close()
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Release takes a held file away, and then lets go of it: who waits for it makes another.
func Release(path string, lock *os.File) {
	_ = os.Remove(path)
	_ = lock.Close()
}

// holder is the pid in a held file; 0 if there is none yet.
func holder(f *os.File) int {
	b := make([]byte, 16)
	n, _ := f.ReadAt(b, 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	return pid
}
