package members

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weft-net/weft/proto/disk"
	"github.com/weft-net/weft/proto/schema"
)

// stateFile is what a server must know before its store is open.
const stateFile = "members.json"

// Modes of a server's store.
const (
	Alone     = "alone"   // an embedded etcd that nobody reaches
	Clustered = "cluster" // an embedded etcd among several, or ready for it
	Elsewhere = "external"
)

// Own is what a server remembers of itself, on its disk.
type Own struct {
	Schema  int      `json:"schema"`
	Name    string   `json:"name"`
	Mode    string   `json:"mode"`
	Joined  bool     `json:"joined,omitempty"`  // another server's fabric
	Reset   bool     `json:"reset,omitempty"`   // --cluster-reset was done, and nothing since
	At      string   `json:"at,omitempty"`      // host:port where its etcd was reached last
	Servers []string `json:"servers,omitempty"` // addresses of the others, as last known
	Peers   []string `json:"peers,omitempty"`   // and of their etcd
}

// remake is what to do about a file that says nothing any more.
const remake = "move it away and start again with the same flags: it is made anew from what else is in the data folder"

// LoadOwn reads what a data folder remembers; zero for a new one.
func LoadOwn(dataDir string) (Own, error) {
	path := filepath.Join(dataDir, stateFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Own{}, nil
	}
	if err != nil {
		return Own{}, fmt.Errorf("members: %w", err)
	}
	o, err := decodeOwn(b)
	if err != nil {
		return Own{}, fmt.Errorf("members: %s %w (it was not touched)", path, err)
	}
	return o, nil
}

func decodeOwn(b []byte) (Own, error) {
	var o Own
	if err := json.Unmarshal(b, &o); err != nil {
		return Own{}, fmt.Errorf("cannot be read: %w; %s", err, remake)
	}
	switch {
	case o.Schema > schema.Members.Version():
		return Own{}, fmt.Errorf("has schema %d, this release reads up to %d; run the newer weft-server again", o.Schema, schema.Members.Version())
	case o.Schema < 1 || o.Name == "" || o.Mode != Alone && o.Mode != Clustered && o.Mode != Elsewhere:
		return Own{}, fmt.Errorf("is incomplete: schema %d, name %q, mode %q; %s", o.Schema, o.Name, o.Mode, remake)
	}
	return o, nil
}

// Save writes it to the data folder.
func (o Own) Save(dataDir string) error {
	o.Schema = schema.Members.Version()
	b, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return fmt.Errorf("members: %w", err)
	}
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return fmt.Errorf("members: %w", err)
	}
	return disk.WriteFile(filepath.Join(dataDir, stateFile), append(b, '\n'), 0o600)
}
