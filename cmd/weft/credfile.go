package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/weft-net/weft/proto/disk"
)

// credentialsSize is more than a credentials file has, in bytes.
const credentialsSize = 16 << 10

// writable says whether a file can be written, before a server is asked for what goes
// into it and counts it as given: by writing as much beside it.
func writable(path string) error {
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		return fmt.Errorf("%s is a folder; name a file with -o; no server was asked", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), disk.TempPrefix+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("%s cannot be written: %w; no server was asked", path, errors.Unwrap(err))
	}
	_, err = f.Write(make([]byte, credentialsSize))
	err = errors.Join(err, f.Sync(), f.Close())
	if err = errors.Join(err, os.Remove(f.Name())); err != nil {
		return fmt.Errorf("%s cannot be written: %w; no server was asked", path, err)
	}
	return nil
}
