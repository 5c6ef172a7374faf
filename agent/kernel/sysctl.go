package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

const procSys = "/proc/sys/"

// The settings that weft has in mind anywhere; others are seen once they were
// asked for.
var (
	globalSysctls = []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"}
	deviceSysctls = []string{"net/ipv4/conf/%s/rp_filter"}
)

func (k *Kernel) observeSysctls(d *devices, s datapath.State) error {
	paths := map[string]bool{}
	for _, p := range globalSysctls {
		paths[p] = true
	}
	for _, l := range d.ours {
		for _, p := range deviceSysctls {
			paths[fmt.Sprintf(p, l.Attrs().Name)] = true
		}
	}
	k.mu.Lock()
	maps.Copy(paths, k.sysctls)
	k.mu.Unlock()
	return inside(k.ns, func() error {
		for _, p := range slices.Sorted(maps.Keys(paths)) {
			b, err := os.ReadFile(procSys + p)
			if errors.Is(err, fs.ErrNotExist) { // it went with its device
				k.mu.Lock()
				delete(k.sysctls, p)
				k.mu.Unlock()
				continue
			}
			if err != nil {
				return fmt.Errorf("kernel: %w", err)
			}
			o := datapath.Sysctl{Path: p, Value: strings.TrimSpace(string(b))}
			s[o.Key()] = o
		}
		return nil
	})
}

func (k *hands) putSysctl(o datapath.Sysctl) error {
	if o.Path != filepath.Clean(o.Path) || !strings.HasPrefix(o.Path, "net/") {
		return fmt.Errorf("path %q is not below net/", o.Path)
	}
	k.mu.Lock()
	k.sysctls[o.Path] = true
	k.mu.Unlock()
	return inside(k.ns, func() error { return writeSysctl(o.Path, o.Value) })
}

// writeSysctl writes only what differs: a write of net.ipv4.ip_forward resets
// every device's forwarding.
func writeSysctl(path, value string) error {
	b, err := os.ReadFile(procSys + path)
	if err == nil && strings.TrimSpace(string(b)) == value {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(procSys+path, []byte(value), 0o644)
}

// inside runs f with the calling thread in a network namespace. /proc/sys/net
// shows that of the thread that opens it.
func inside(ns netns.NsHandle, f func() error) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("kernel: network namespace of this thread: %w", err)
	}
	defer home.Close()
	if ns.Equal(home) {
		defer runtime.UnlockOSThread()
		return f()
	}
	if err := unix.Setns(int(ns), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("kernel: enter the network namespace; the agent needs CAP_SYS_ADMIN: %w", err)
	}
	ferr := f()
	if err := unix.Setns(int(home), unix.CLONE_NEWNET); err != nil {
		// The thread stays locked and dies with its goroutine: nobody else may
		// run in the wrong namespace.
		return errors.Join(ferr, fmt.Errorf("kernel: leave the network namespace: %w", err))
	}
	runtime.UnlockOSThread()
	return ferr
}
