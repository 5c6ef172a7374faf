package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const lockName = "lock"

// Hold makes a data folder, 0700, if it is not there, takes it for this process
// until the answer is closed, and sweeps it. One that another process holds is an
// error that names the program, which is ours, and the process.
func Hold(dir, program string) (io.Closer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("disk: make %s: %w; choose a writable folder with --data-dir", dir, bare(err))
	}
	name := filepath.Join(dir, lockName)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("disk: open %s: %w; %s must be able to write to its data folder (--data-dir)", name, bare(err), program)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("disk: %s is in use by another %s%s; stop it, or give this one a folder of its own with --data-dir", dir, program, holder(f))
		}
		return nil, fmt.Errorf("disk: lock %s: %w", name, err)
	}
	sign(f)
	Sweep(dir)
	return f, nil
}

// sign leaves our pid for the error message of a second process. Without it (a
// full disk) the lock holds all the same.
func sign(f *os.File) {
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
}

func holder(f *os.File) string {
	b := make([]byte, 16)
	n, _ := f.ReadAt(b, 0)
	if pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n]))); err == nil {
		return fmt.Sprintf(" (pid %d)", pid)
	}
	return ""
}
