package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// ErrOnOther is what a backup is refused with that another server has.
var ErrOnOther = errors.New("another server has it")

// resolve answers with the name of a file of this server's folder. Latest is the
// youngest of the fabric: when another server has it, an older one of ours does not
// stand in for it.
func (r *Room) resolve(ctx context.Context, name string) (string, error) {
	state, err := r.State(ctx)
	if err != nil {
		return "", err
	}
	last := state.Last
	if last != nil && (last.Server == r.Server || !counts(last.Name)) {
		last = nil
	}
	if name != Latest {
		if _, err := os.Stat(filepath.Join(r.Folder.Path, filepath.Base(name))); errors.Is(err, fs.ErrNotExist) && last != nil && last.Name == name {
			return "", r.elsewhere(name+" is not on server "+r.Server, *last)
		}
		return name, nil
	}
	own, err := r.Folder.resolve(Latest)
	if last == nil {
		return own, err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", r.elsewhere("there is no backup on server "+r.Server, *last)
	}
	if err != nil {
		return "", err
	}
	h, err := readHeader(filepath.Join(r.Folder.Path, own))
	if err != nil {
		return "", fmt.Errorf("backup: %s: %w", own, err)
	}
	if h.Time.Unix() < last.TimeUnix {
		return "", r.elsewhere("the latest on server "+r.Server+" is "+own+", and there is a younger one", *last)
	}
	return own, nil
}

// counts says whether a name is of a backup that Latest may stand for.
func counts(name string) bool {
	m := fileName.FindStringSubmatch(name)
	return m != nil && (m[1] == Scheduled || m[1] == ByHand)
}

func (r *Room) elsewhere(what string, at Made) error {
	return fmt.Errorf("backup: %s: %w: server %s has %s, of %s; ask that one (weft --server, addresses: weft server list), or give the name of one that is here (weft backup ls)",
		what, ErrOnOther, at.Server, at.Name, time.Unix(at.TimeUnix, 0).UTC().Format(time.RFC3339))
}
