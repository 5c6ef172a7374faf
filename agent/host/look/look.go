package look

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/host"
)

// Kernel tells of firewalls.
type Kernel interface {
	Filters(context.Context) ([]datapath.Filter, error)
	Stirs() uint64 // counts changes
}

// Eyes look at one host. The zero value but for Kernel is ready; one goroutine at a
// time may use it.
type Eyes struct {
	Kernel Kernel
	CNIDir func() string // where the container runtime's configuration is; empty: nowhere
	Disks  []string      // folders that weft writes to
	Links  func() []datapath.HostLink
	Clock  func(*host.Clock) // adds what a server says of its own

	filters []datapath.Filter
	stirs   uint64
	next    time.Time // when filters may be read again without a stir
	files   kept
	daemons processes
	guard   host.Guard
}

// Facts are what there is now. Paths are the settings to be read.
func (e *Eyes) Facts(ctx context.Context, paths []string, drops uint64, now time.Time) (host.Facts, error) {
	var f host.Facts
	if err := e.look(ctx, now); err != nil {
		return f, err
	}
	f.Filters = e.filters
	if e.Links != nil {
		f.Links = e.Links()
	}
	for _, p := range paths {
		if b, err := e.files.read("/proc/sys/" + p); err == nil {
			f.Settings = append(f.Settings, host.Setting{Path: p, Value: strings.TrimSpace(string(b))})
		}
	}
	f.Daemons = e.daemons.look(&e.files)
	f.CNI = e.cni()
	f.Clock = clock()
	if e.Clock != nil {
		e.Clock(&f.Clock)
	}
	for _, d := range e.Disks {
		if disk, ok := statfs(d); ok {
			f.Disks = append(f.Disks, disk)
		}
	}
	f.Guard = e.guarded(drops, now)
	return f, nil
}

// Close lets go of what is kept open between looks.
func (e *Eyes) Close() { e.files.close() }

// Again has the firewalls read at the next look.
func (e *Eyes) Again() { e.next = time.Time{} }

// share is how little of the time may go into tables that tell no changes.
const share = 100

func (e *Eyes) look(ctx context.Context, now time.Time) error {
	stirs := e.Kernel.Stirs()
	if !e.next.IsZero() && stirs == e.stirs && (now.Before(e.next) || !e.legacyTables()) {
		return nil
	}
	began := time.Now()
	filters, err := e.Kernel.Filters(ctx)
	if err != nil {
		return err
	}
	e.filters, e.stirs = filters, stirs
	e.next = now.Add(share * time.Since(began))
	return nil
}

// legacyTables tells whether there is any table of iptables-legacy.
func (e *Eyes) legacyTables() bool {
	for _, name := range []string{"ip_tables_names", "ip6_tables_names"} {
		if b, err := e.files.read("/proc/self/net/" + name); err == nil && len(b) > 0 {
			return true
		}
	}
	return false
}

func (e *Eyes) guarded(drops uint64, now time.Time) host.Guard {
	if drops > e.guard.Drops {
		e.guard.Last = now
	}
	if drops == 0 {
		e.guard.Last = time.Time{} // there is no guard any more, or it is a new one
	}
	e.guard.Drops, e.guard.Now = drops, now
	return e.guard
}

// cni lists the configurations that a runtime would take before ours.
func (e *Eyes) cni() host.CNI {
	if e.CNIDir == nil || e.CNIDir() == "" {
		return host.CNI{}
	}
	out := host.CNI{Dir: e.CNIDir()}
	entries, err := os.ReadDir(out.Dir) // sorted by name
	if err != nil {
		return out
	}
	for _, entry := range entries {
		switch filepath.Ext(entry.Name()) {
		case ".conf", ".conflist", ".json":
			if entry.Name() < host.ConflistName && !entry.IsDir() {
				out.Before = append(out.Before, entry.Name())
			}
		}
	}
	return out
}

// clock asks the kernel (adjtimex(2)).
func clock() host.Clock {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return host.Clock{Unsynchronized: err == nil && state == unix.TIME_ERROR && t.Status&unix.STA_UNSYNC != 0}
}

// statfs is the file system that a path, or the nearest folder above it, is on.
func statfs(path string) (host.Disk, bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return host.Disk{}, false
	}
	return host.Disk{
		Path: path, Free: s.Bavail * uint64(s.Bsize), FreeInodes: s.Ffree, NoInodes: s.Files == 0,
		ReadOnly: s.Flags&unix.ST_RDONLY != 0,
	}, true
}
