package etcd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// restore is what to do about damaged files. The fabric's CA is among them.
const restore = "if another server of the fabric runs, take this one out there (weft server remove), move <data-dir>/etcd away and start it with --server and --token-file; else restore a backup (weft-server --cluster-reset --cluster-reset-restore-path FILE), or without one move <data-dir>/etcd away and start with --adopt"

// fullDisk is how little room, in bytes, explains an error that does not.
const fullDisk = 1 << 20

// inspect finds the damage that etcd answers with a fault or by waiting for ever:
// a database that is cut off or whose pages are not what they say, or that has no
// write-ahead log beside it. It changes nothing.
func inspect(dir string) error {
	path := filepath.Join(dir, "member", "snap", "db")
	if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil // etcd makes it, and fills it from its log
	}
	applied, err := walk(path)
	if err != nil {
		return fmt.Errorf("its database %s is damaged: %w; %s", path, err, restore)
	}
	logs := filepath.Join(dir, "member", "wal")
	found, err := filepath.Glob(filepath.Join(logs, "*.wal"))
	if err == nil && len(found) == 0 && applied > 0 {
		return fmt.Errorf("its write-ahead log is missing: no *.wal in %s, and the database has %d entries of it; %s", logs, applied, restore)
	}
	return err
}

// walk reads every page of a database that holds something, and returns the index
// of the last entry of the log that it has. Where a page makes bbolt panic, or
// lies beyond what the disk gives, that is an error.
func walk(path string) (applied uint64, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return 0, err
	}
	defer db.Close()
	tx, err := db.Begin(false)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	if tx.Size() > info.Size() {
		return 0, fmt.Errorf("it has %d bytes of %d", info.Size(), tx.Size())
	}
	err = tx.ForEach(func(_ []byte, b *bolt.Bucket) error { return b.ForEach(func(_, _ []byte) error { return nil }) })
	if meta := tx.Bucket([]byte("meta")); meta != nil { // as etcd's schema has it
		if v := meta.Get([]byte("consistent_index")); len(v) == 8 {
			applied = binary.BigEndian.Uint64(v)
		}
	}
	return applied, err
}

// gaveUp adds what to do. Files are never the fault of a disk that is full.
func gaveUp(dir string, err error) error {
	do := "its files may be damaged: " + restore
	switch text := err.Error(); {
	case strings.Contains(text, unix.ENOSPC.Error()), strings.Contains(text, unix.EDQUOT.Error()):
		do = "make room on its disk and start again: what was acknowledged is not lost"
	case strings.Contains(text, unix.EROFS.Error()), strings.Contains(text, unix.EACCES.Error()):
		do = "make its folder writable and start again"
	case isFull(dir):
		do = "disk full: make room on the disk of " + dir + " and start again: what was acknowledged is not lost"
	}
	return fmt.Errorf("it gave up: %w; %s", err, do)
}

func isFull(dir string) bool {
	var s unix.Statfs_t
	err := unix.Statfs(dir, &s)
	return err == nil && s.Bavail*uint64(s.Bsize) < fullDisk
}
