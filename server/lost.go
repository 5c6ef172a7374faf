package server

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/weft-net/weft/proto/disk"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/backup"
)

// founded are files that a server writes only once its embedded etcd is there.
var founded = []string{sealedFile, "members.json", "server.key", "admin.yaml"}

// noneLost refuses to found a fabric in the folder of one whose embedded etcd is
// gone: a second fabric there would not let the first one's agents in, and its CA
// would take the place of what brings the first one back.
func (s *site) noneLost() error {
	if len(s.Etcd.Endpoints) > 0 || s.Join.Server != "" || s.Adopt || s.hasData() {
		return nil
	}
	var there []string
	for _, name := range founded {
		if _, err := os.Stat(filepath.Join(s.DataDir, name)); err == nil {
			there = append(there, name)
		}
	}
	if len(there) == 0 {
		return nil
	}
	etcd := filepath.Join(s.DataDir, "etcd")
	return fmt.Errorf(`server: the store %s is gone, and %s in %s are of a fabric: nothing was changed, and no new fabric is made beside them. One of these:
  put %s back, if it was moved
  weft-server --adopt, with the same flags: makes the store again of what agents carry
  weft-server --cluster-reset --cluster-reset-restore-path FILE: makes it of a backup
  weft-server --server https://OTHER:7443 --token-file FILE: if the fabric has other servers that run
  another --data-dir, for a new fabric`, etcd, strings.Join(there, ", "), s.DataDir, etcd)
}

// putSealed keeps the CA as the store has it. What is there of another fabric is
// kept beside it: it may be all that brings that one back.
func putSealed(c Config, now []byte) error {
	path := filepath.Join(c.DataDir, sealedFile)
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if bytes.Equal(old, now) {
		return nil
	}
	if aside, ok := otherFabric(old, now); ok {
		aside = path + "." + aside
		if err := os.Rename(path, aside); err != nil {
			return err
		}
		c.Log.Warn("the CA of another fabric was kept", note.Path, aside, note.Do, "keep it, and server.key, until nobody needs that fabric")
	}
	return disk.WriteFile(path, now, 0o600)
}

// otherFabric answers with the first half of the id of the fabric that a file was
// of, if that is another one than now. One that cannot be read is no fabric's.
func otherFabric(old, now []byte) (id string, other bool) {
	was, err := backup.ParseSealed(old)
	if err != nil {
		return "", false
	}
	is, err := backup.ParseSealed(now)
	if err != nil || was.ID == is.ID || was.ID == "" {
		return "", false
	}
	return fmt.Sprintf("%.16s", was.ID), true
}
