package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// TempPrefix begins the names of files that are being written.
const TempPrefix = ".new-"

// WriteFile replaces the file at path and returns when it is on the disk.
func WriteFile(path string, b []byte, mode fs.FileMode) (err error) {
	dir, base := filepath.Split(path)
	dir = filepath.Clean(dir)
	f, err := os.CreateTemp(dir, TempPrefix+base+"-*") // 0600
	if err != nil {
		return fmt.Errorf("disk: write %s: %w", path, bare(err))
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("disk: write %s: %w; what was there before is as it was", path, bare(err))
		}
	}()
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// SyncDir makes the names in a folder durable: fsync of a file does not cover its
// own.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Sweep removes what a crash left of files that were being written.
func Sweep(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, TempPrefix+"*"))
	for _, name := range left {
		_ = os.Remove(name) // a read-only folder is found at the first write
	}
}

// bare is an error of package os without operation and path, which ours names.
func bare(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}
