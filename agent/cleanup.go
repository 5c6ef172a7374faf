package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
)

// looks is how often Cleanup looks again: a removed device takes objects along,
// and something may put others back.
const looks = 3

// Cleaning says what Cleanup removes.
type Cleaning struct {
	DataDir    string
	RunDir     string
	CNIConfDir string
	Purge      bool // the data folder too: the node's key, its lease's memory, pods' records
	Log        *slog.Logger
}

// Cleanup removes from the host all that is weft's, puts foreign settings back,
// and says on out what it did. An agent that runs on the data folder is an error.
func Cleanup(ctx context.Context, c Cleaning, out io.Writer) error {
	dir, err := datadir.Open(cmp.Or(c.DataDir, DefaultDataDir))
	if err != nil {
		return err
	}
	defer dir.Close()
	k, err := kernel.Open(c.Log)
	if err != nil {
		return err
	}
	defer k.Close()
	if err := c.kernel(ctx, k, out); err != nil {
		return err
	}
	if was, err := k.RemoveTable(); err != nil {
		return fmt.Errorf("agent: cleanup: not all could be removed; run it again: %w", err)
	} else if was {
		fmt.Fprintln(out, "removed table inet", datapath.Table)
	}
	s, err := openSettings(dir, c.Log)
	if err != nil {
		return err
	}
	done, err := s.restore()
	for _, line := range done {
		fmt.Fprintln(out, "restored", line)
	}
	return errors.Join(err, c.files(dir, out))
}

func (c Cleaning) kernel(ctx context.Context, k effects, out io.Writer) error {
	var errs []error
	for range looks {
		have, err := k.Observe(ctx, datapath.AllKinds)
		if err != nil {
			return fmt.Errorf("agent: cleanup: %w", err)
		}
		var ops []datapath.Op
		for _, op := range datapath.Diff(nil, have) {
			if op.Key().Kind != datapath.KindSysctl { // of devices that go, or restored below
				ops = append(ops, op)
			}
		}
		if errs = nil; len(ops) == 0 {
			break
		}
		for i, err := range k.Apply(ctx, ops) {
			if err != nil {
				errs = append(errs, err)
				continue
			}
			fmt.Fprintln(out, "removed", ops[i].Old)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("agent: cleanup: not all could be removed; run it again: %w", err)
	}
	return nil
}

func (c Cleaning) files(dir *datadir.Dir, out io.Writer) error {
	run := cmp.Or(c.RunDir, DefaultRunDir)
	paths := []string{filepath.Join(run, envName), filepath.Join(run, "agent.sock"), filepath.Join(run, "cni.sock")}
	if conf := findConfDir(cmp.Or(c.CNIConfDir, Auto)); conf != "" {
		paths = append(paths, filepath.Join(conf, conflistName))
	}
	var errs []error
	for _, path := range paths {
		err := os.Remove(path)
		switch {
		case err == nil:
			fmt.Fprintln(out, "removed", path)
		case !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, fmt.Errorf("agent: cleanup: %w", err))
		}
	}
	if c.Purge {
		if err := os.RemoveAll(dir.Path("")); err != nil {
			errs = append(errs, fmt.Errorf("agent: cleanup: %w", err))
		} else {
			fmt.Fprintln(out, "removed", dir.Path(""))
		}
	} else {
		fmt.Fprintf(out, "kept %s: the node's key and certificate; --purge removes it\n", dir.Path(""))
	}
	return errors.Join(errs...)
}
