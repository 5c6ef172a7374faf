package tailscale

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
)

// Files in the data folder.
const (
	recordName = "tailscale.json"
	keyName    = "tailscale-authkey"
)

// recorded is the file.
type recorded struct {
	Schema   int            `json:"schema"`
	Up       bool           `json:"broughtUp,omitempty"`
	Accepted bool           `json:"acceptRoutes,omitempty"`
	Routes   []netip.Prefix `json:"advertised,omitempty"`
	Restore  []string       `json:"restore,omitempty"`
	Addrs    []netip.Addr   `json:"addresses,omitempty"` // the node's, as last seen
}

// load reads what an earlier run recorded. A file that cannot be read is set aside:
// then nothing is ours, and nothing of somebody else's is taken back.
func load(dir *datadir.Dir, log *slog.Logger) (Record, []netip.Addr, error) {
	b, err := dir.Read(recordName)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, nil, nil
	}
	if err != nil {
		return Record{}, nil, fmt.Errorf("tailscale: %w", err)
	}
	r, addrs, err := decode(b)
	if newer := (schema.Newer{}); errors.As(err, &newer) {
		newer.What = dir.Path(recordName)
		return Record{}, nil, fmt.Errorf("tailscale: %w", newer)
	}
	if err != nil {
		to, aside := dir.SetAside(recordName)
		log.Error("record of Tailscale unreadable", note.Path, to, note.Err, errors.Join(err, aside), note.Do, "cleanup cannot tell what weft set there; look: tailscale debug prefs")
		return Record{}, nil, aside
	}
	return r, addrs, nil
}

func decode(b []byte) (Record, []netip.Addr, error) {
	var f recorded
	if err := json.Unmarshal(b, &f); err != nil {
		return Record{}, nil, fmt.Errorf("not a record of Tailscale: %w", err)
	}
	if err := schema.Tailnet.Check("it", f.Schema); err != nil {
		return Record{}, nil, err
	}
	for _, p := range f.Routes {
		if !p.IsValid() || p != p.Masked() || p.Bits() == 0 {
			return Record{}, nil, fmt.Errorf("advertised: %v is no prefix of a lease", p)
		}
	}
	for _, flag := range f.Restore {
		if name, _, ok := strings.Cut(strings.TrimPrefix(flag, "--"), "="); !ok || !flagName(name) || !strings.HasPrefix(flag, "--") || !oneWord(flag) {
			return Record{}, nil, fmt.Errorf("restore: %.40q is no flag of tailscale set", flag)
		}
	}
	for _, a := range f.Addrs {
		if !member(a) {
			return Record{}, nil, fmt.Errorf("addresses: %v is no tailnet's", a)
		}
	}
	return Record{Up: f.Up, Accepted: f.Accepted, Routes: sorted(f.Routes), Restore: f.Restore}, f.Addrs, nil
}

func save(dir *datadir.Dir, r Record, addrs []netip.Addr) error {
	b, err := json.Marshal(recorded{Schema: schema.Tailnet.Version(), Up: r.Up, Accepted: r.Accepted, Routes: r.Routes, Restore: r.Restore, Addrs: addrs})
	if err != nil {
		return fmt.Errorf("tailscale: %w", err)
	}
	if err := dir.Write(recordName, b); err != nil {
		return fmt.Errorf("tailscale: %w", err)
	}
	return nil
}
