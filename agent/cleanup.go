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
	"slices"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/detached"
	"github.com/weft-net/weft/agent/firewalld"
	hostroom "github.com/weft-net/weft/agent/host"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/tailscale"
	"github.com/weft-net/weft/agent/userspace"
)

// looks is how often Cleanup looks again: a removed device takes objects along,
// and something may put others back.
const looks = 3

// Cleaning says what Cleanup removes.
type Cleaning struct {
	DataDir    string // DefaultDataDir if empty, which then may be gone
	RunDir     string
	CNIConfDir string
	Purge      bool // the data folder too: the node's key, its lease's memory, pods' records
	Log        *slog.Logger
}

// Cleanup removes from the host all that is weft's, puts foreign settings back,
// and says on out what it did. An agent that runs, on the data folder or on this
// network, is an error, as is a setting that cannot be put back.
func Cleanup(ctx context.Context, c Cleaning, out io.Writer) error {
	lock, err := alone(c.Log)
	if err != nil {
		return err
	}
	defer lock.Close()
	dir, err := c.folder()
	if err != nil {
		return err
	}
	if dir != nil {
		defer dir.Close()
	}
	if err := c.relay(ctx, out); err != nil {
		return fmt.Errorf("agent: cleanup: %w", err)
	}
	starter, err := userspace.NewStarter(userspace.StarterConfig{Log: c.Log})
	if err != nil {
		return err
	}
	defer starter.Close()
	k, err := kernel.Open(c.Log, kernel.Config{Userspace: starter})
	if err != nil {
		return err
	}
	defer k.Close()
	asked, err := askedFirewalld(ctx, k)
	if err != nil {
		return err
	}
	var tailnet error
	removed, err := c.kernel(ctx, k, out)
	if err != nil {
		return err
	}
	if err := errors.Join(starter.Sweep(datapath.WGLink0), starter.Sweep(datapath.WGLink1)); err != nil {
		return fmt.Errorf("agent: cleanup: what dead WireGuard processes left: %w", err)
	}
	if err := closeOpenings(ctx, k, asked, out); err != nil {
		return fmt.Errorf("agent: cleanup: not all could be removed; run it again: %w", err)
	}
	if was, err := k.RemoveTable(); err != nil {
		return fmt.Errorf("agent: cleanup: not all could be removed; run it again: %w", err)
	} else if was {
		removed = true
		fmt.Fprintln(out, "removed table inet", datapath.Table)
	}
	if dir != nil {
		tailnet = tailscale.Withdraw(ctx, tailscale.Program{}, dir, c.Log, out)
	}
	if dir == nil && removed {
		err = notRestored("no data folder is at " + DefaultDataDir + ", run it again with the agent's --data-dir")
	} else if dir != nil {
		err = c.settings(dir, out)
	}
	return errors.Join(err, tailnet, c.files(dir, out))
}

// relay ends the process that carries relayed packets.
func (c Cleaning) relay(ctx context.Context, out io.Writer) error {
	kind := relayKind(cmp.Or(c.RunDir, DefaultRunDir))
	s, err := detached.NewStarter(detached.Config{Kind: kind, Log: c.Log})
	if err != nil {
		return err
	}
	defer s.Close()
	_, none := os.Lstat(kind.Socket(relayName))
	if err := s.Stop(ctx, relayName); err != nil || none != nil {
		return err
	}
	fmt.Fprintln(out, "ended the relay process")
	return nil
}

// closeOpenings takes our rules out of the chains of Docker and ufw, and weft's
// devices out of firewalld's zone.
func closeOpenings(ctx context.Context, k *kernel.Kernel, asked firewalld.Want, out io.Writer) error {
	filters, err := k.Filters(ctx)
	if err != nil {
		return err
	}
	_, stale := hostroom.Compare(nil, filters)
	var errs []error
	for _, s := range stale {
		if err := k.Withdraw(s.Family, s.Table, s.Chain, s.Handle); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintln(out, "removed", s)
	}
	if !slices.ContainsFunc(filters, func(f datapath.Filter) bool { return f.Table == hostroom.FirewalldOwn }) {
		return errors.Join(errs...)
	}
	closed, err := firewalld.Close(ctx, asked)
	for _, line := range closed {
		fmt.Fprintln(out, "took back", line)
	}
	return errors.Join(append(errs, err)...)
}

// askedFirewalld is what firewalld may have been asked for, as long as the devices
// that tell are there.
func askedFirewalld(ctx context.Context, k *kernel.Kernel) (w firewalld.Want, err error) {
	have, err := k.Observe(ctx, datapath.Of(datapath.KindLink))
	if err != nil {
		return w, fmt.Errorf("agent: cleanup: %w", err)
	}
	host, err := k.Host(ctx)
	if err != nil {
		return w, fmt.Errorf("agent: cleanup: %w", err)
	}
	for _, o := range have {
		l, _ := o.(datapath.Link)
		switch l.Type {
		case datapath.LinkVXLAN:
			w.Ports = append(w.Ports, l.VXLAN.Port)
			for _, a := range host.Addrs {
				if a.Prefix.Addr() == l.VXLAN.Local {
					w.Uplinks = append(w.Uplinks, a.Link)
				}
			}
		case datapath.LinkWG: // is bound to no device
			w.Ports = append(w.Ports, l.WG.Port)
			for _, d := range host.Defaults {
				w.Uplinks = append(w.Uplinks, d.Link)
			}
		}
	}
	slices.Sort(w.Ports)
	slices.Sort(w.Uplinks)
	w.Ports, w.Uplinks = slices.Compact(w.Ports), slices.Compact(w.Uplinks)
	return w, nil
}

// folder opens the data folder. One that is no agent's is an error, unless it is
// the default, which may be gone: then there is none.
func (c Cleaning) folder() (*datadir.Dir, error) {
	path := cmp.Or(c.DataDir, DefaultDataDir)
	_, err := os.Stat(filepath.Join(path, podsName))
	switch {
	case err == nil:
		return datadir.Open(path)
	case errors.Is(err, fs.ErrNotExist) && c.DataDir == "":
		return nil, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("agent: cleanup: %s is no data folder of an agent: it has no %s; give the one that the agent ran with (--data-dir)", path, podsName)
	}
	return nil, fmt.Errorf("agent: cleanup: %w", err)
}

// settings puts foreign settings back. A record of them that could not be read,
// now or when the agent started, says nothing of what they were.
func (c Cleaning) settings(dir *datadir.Dir, out io.Writer) error {
	s, err := openSettings(dir, c.Log)
	if err != nil {
		return err
	}
	done, err := s.restore()
	for _, line := range done {
		fmt.Fprintln(out, "restored", line)
	}
	if aside := dir.Aside(sysctlName); aside != "" {
		err = errors.Join(err, notRestored("the record of old settings could not be read (look into "+aside+", then remove it)"))
	}
	return err
}

// kernel removes what the loop would see, and says whether there was something.
func (c Cleaning) kernel(ctx context.Context, k effects, out io.Writer) (removed bool, err error) {
	var errs []error
	for range looks {
		have, err := k.Observe(ctx, datapath.AllKinds)
		if err != nil {
			return removed, fmt.Errorf("agent: cleanup: %w", err)
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
			removed = true
			fmt.Fprintln(out, "removed", ops[i].Old)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return removed, fmt.Errorf("agent: cleanup: not all could be removed; run it again: %w", err)
	}
	return removed, nil
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
	switch {
	case dir == nil:
	case c.Purge:
		if err := os.RemoveAll(dir.Path("")); err != nil {
			errs = append(errs, fmt.Errorf("agent: cleanup: %w", err))
		} else {
			fmt.Fprintln(out, "removed", dir.Path(""))
		}
	default:
		fmt.Fprintf(out, "kept %s: the node's key and certificate; --purge removes it\n", dir.Path(""))
	}
	return errors.Join(errs...)
}
