package identity

import (
	"path/filepath"

	"github.com/weft-net/weft/server/store"
)

// OpensCA says whether this server's key opens a CA as a store, or a backup of
// one, has it.
func (a *Authority) OpensCA(record []byte) error {
	_, err := loadCA(store.Entry{Key: caKey, Value: record}, filepath.Join(a.config.DataDir, serverKeyFile))
	return err
}
