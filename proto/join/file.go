package join

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// WriteFile writes a secret to a file, 0600, whole or not at all: it is on the
// disk before it takes the place of an older one, and a crash or a full disk
// leaves that one as it was.
func WriteFile(path string, b []byte) (err error) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	f, err := os.CreateTemp(dir, "."+base+"-*") // 0600
	if err != nil {
		return fmt.Errorf("join: write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("join: write %s: %w", path, err)
		}
	}()
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
