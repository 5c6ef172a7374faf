package identity

import (
	"path/filepath"

	"github.com/weft-net/weft/server/store"
)

// OpensCA says whether this server's key opens a CA as a store, or a backup of
// one, has it.
func (a *Authority) OpensCA(record []byte) error { return OpensCA(a.config.DataDir, record) }

// OpensCA says whether the server.key of a data folder opens a CA as a store, or
// a backup of one, has it.
func OpensCA(dataDir string, record []byte) error {
	_, err := loadCA(store.Entry{Key: caKey, Value: record}, filepath.Join(dataDir, serverKeyFile))
	return err
}
