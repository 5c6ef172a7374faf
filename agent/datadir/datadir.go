package datadir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weft-net/weft/proto/disk"
	"github.com/weft-net/weft/proto/schema"
)

// MaxFile is the most that Read takes of one file, in bytes.
const MaxFile = 128 << 20

// asideSuffix ends the names of files that were set aside.
const asideSuffix = ".unreadable"

// Dir is an open data folder, held by this process until Close.
type Dir struct {
	path string
	lock io.Closer
}

// Open makes the folder if it is not there and takes hold of it. A folder that
// another process holds is an error that names the process, and so is one that a
// later release has written to, which nothing is written to.
func Open(path string) (*Dir, error) {
	lock, err := disk.HoldAs(path, "weft-agent", schema.AgentFolder)
	if err != nil {
		return nil, err
	}
	return &Dir{path: path, lock: lock}, nil
}

// Beside is a folder that another process holds, for files of which both know who
// writes them.
func Beside(path string) *Dir { return &Dir{path: path, lock: io.NopCloser(nil)} }

// Mark raises the folder's schema to this release's. Call it once all that is in
// the folder has been read, and before anything is written.
func (d *Dir) Mark() error { return disk.MarkFolder(d.path, schema.AgentFolder) }

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
func (d *Dir) Write(name string, b []byte) error { return disk.WriteFile(d.Path(name), b, 0o600) }

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
	to := d.Path(name + asideSuffix)
	if err := os.Rename(d.Path(name), to); err != nil {
		return "", fmt.Errorf("datadir: set aside: %w", err)
	}
	return to, nil
}

// Aside is where a file is that was set aside; empty if none was.
func (d *Dir) Aside(name string) string {
	if _, err := os.Lstat(d.Path(name + asideSuffix)); err != nil {
		return ""
	}
	return d.Path(name + asideSuffix)
}
