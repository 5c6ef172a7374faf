package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
)

const (
	schemaName = "schema"
	maxSchema  = 4096 // bytes read of it
)

// marked is the content of the file that says a folder's schema.
type marked struct {
	Schema  int    `json:"schema"`
	Release string `json:"release"` // that raised it
}

// HoldAs is Hold for a folder of a format that this release can read: CheckFolder
// comes first, because Hold writes.
func HoldAs(dir, program string, format schema.Format) (io.Closer, error) {
	if err := CheckFolder(dir, format); err != nil {
		return nil, err
	}
	return Hold(dir, program)
}

// CheckFolder refuses a folder that a later release has written to, before
// anything in it is touched. A folder that says nothing is of the first schema.
func CheckFolder(dir string, format schema.Format) error {
	_, err := readMark(dir, format)
	return err
}

// MarkFolder raises a folder's schema to this release's. It is called by who holds
// the folder, before the first write that an older release could not read.
func MarkFolder(dir string, format schema.Format) error {
	m, err := readMark(dir, format)
	if err != nil || m.Schema == format.Version() {
		return err
	}
	b, err := json.Marshal(marked{format.Version(), note.Version})
	if err != nil {
		return err
	}
	err = WriteFile(filepath.Join(dir, schemaName), append(b, '\n'), 0o600)
	if format.Version() == 1 {
		return nil // a full disk: without the file, it is 1 as well
	}
	return err
}

// readMark reads what the folder says. Its schema is 0 if it says nothing.
func readMark(dir string, format schema.Format) (marked, error) {
	path := filepath.Join(dir, schemaName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return marked{}, nil
	}
	if err != nil {
		return marked{}, fmt.Errorf("disk: open %s: %w", path, bare(err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSchema))
	if err != nil {
		return marked{}, fmt.Errorf("disk: read %s: %w", path, bare(err))
	}
	var m marked
	if err := json.Unmarshal(b, &m); err != nil || m.Schema < 1 {
		return marked{}, fmt.Errorf(`disk: %s is damaged: it does not say {"schema": N}; if no later release than %s ever ran here, remove it; it was not touched`, path, note.Version)
	}
	err = format.Check(path, m.Schema)
	if newer := (schema.Newer{}); errors.As(err, &newer) {
		newer.Release = m.Release
		return m, fmt.Errorf("disk: %w", newer)
	}
	return m, err
}
