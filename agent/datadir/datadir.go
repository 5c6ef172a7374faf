package datadir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxFile is the most that Read takes of one file, in bytes.
const MaxFile = 128 << 20

const (
	lockName   = "lock"
	tempPrefix = ".new-"
)

// Dir is an open data folder, held by this process until Close.
type Dir struct {
	path string
	lock *os.File
}

// Open makes the folder if it is not there and takes hold of it. A folder that
// another process holds is an error that names the process.
func Open(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("datadir: make %s: %w; choose a writable folder with --data-dir", path, bare(err))
	}
	name := filepath.Join(path, lockName)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("datadir: open %s: %w; the agent must be able to write to its data folder (--data-dir)", name, bare(err))
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("datadir: %s is in use by another weft-agent%s; stop it, or give this one a folder of its own with --data-dir", path, holder(f))
		}
		return nil, fmt.Errorf("datadir: lock %s: %w", name, err)
	}
	d := &Dir{path: path, lock: f}
	d.sign()
	d.sweep()
	return d, nil
}

// sign leaves our pid for the error message of a second agent. Without it (a
// full disk) the lock holds all the same.
func (d *Dir) sign() {
	if err := d.lock.Truncate(0); err == nil {
		_, _ = d.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
}

// sweep removes what a crash in the middle of Write left.
func (d *Dir) sweep() {
	left, _ := filepath.Glob(filepath.Join(d.path, tempPrefix+"*"))
	for _, name := range left {
		_ = os.Remove(name)
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

// Close lets go of the folder.
func (d *Dir) Close() error { return d.lock.Close() }

// Path is the path of a file in the folder.
func (d *Dir) Path(name string) string { return filepath.Join(d.path, name) }

// Read returns a file. Absence is fs.ErrNotExist; a file larger than MaxFile is
// refused.
func (d *Dir) Read(name string) ([]byte, error) {
	f, err := os.Open(d.Path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("datadir: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("datadir: read %s: %w", d.Path(name), err)
	}
	if len(b) > MaxFile {
		return nil, fmt.Errorf("datadir: %s is larger than %d bytes", d.Path(name), MaxFile)
	}
	return b, nil
}

// Write replaces a file and returns when it is on the disk.
func (d *Dir) Write(name string, b []byte) error { return WriteFile(d.Path(name), b, 0o600) }

// Remove removes a file. One that is not there is no error.
func (d *Dir) Remove(name string) error {
	if err := os.Remove(d.Path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("datadir: %w", err)
	}
	return nil
}

// SetAside renames a file that cannot be used, so that a person can look at it,
// and returns its new path. One earlier such file is overwritten: a crash loop
// must not fill the disk.
func (d *Dir) SetAside(name string) (string, error) {
	to := d.Path(name + ".unreadable")
	if err := os.Rename(d.Path(name), to); err != nil {
		return "", fmt.Errorf("datadir: set aside: %w", err)
	}
	return to, nil
}

// WriteFile replaces the file at path, anywhere, and returns when it is on the
// disk. Readers see the old content or the new.
func WriteFile(path string, b []byte, mode fs.FileMode) (err error) {
	dir, base := filepath.Split(path)
	f, err := os.CreateTemp(dir, tempPrefix+base+"-*")
	if err != nil {
		return fmt.Errorf("datadir: write %s: %w", path, bare(err))
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("datadir: write %s: %w; what was there before is as it was", path, bare(err))
		}
	}()
	_, err = f.Write(b)
	for _, step := range []func() error{func() error { return f.Chmod(mode) }, f.Sync, f.Close} {
		if serr := step(); err == nil {
			err = serr
		}
	}
	if err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Clean(dir))
}

// syncDir makes a rename durable: fsync of the file does not cover its name.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// bare is an error of package os without operation and path, which ours names.
func bare(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
