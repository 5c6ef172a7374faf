package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	namePrefix = "weft-"
	dirPrefix  = "weft-lab-"
	netnsDir   = "/var/run/netns/"
	switchName = "sw" // the namespace of the bridge that stands for the wire

	// Outside4 and Outside6 are addresses beyond the fabric, on the host that is
	// everybody's default route.
	Outside4 = "203.0.113.1"
	Outside6 = "2001:db8:ff::1"
)

// Lab is one network.
type Lab struct {
	Bin string // folder of the built binaries; what starts from now on is taken from there
	Dir string // folder of all state and logs; removed by Close

	prefix string
	wire   *Host // the switch

	mu    sync.Mutex
	hosts map[string]*Host
	procs []*Process
	kept  []interface{ Close() }
}

// New sweeps what dead labs left and makes the switch. Close ends the lab.
func New(ctx context.Context, bin string) (*Lab, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("lab: network namespaces need root; run with sudo")
	}
	if err := sweep(ctx); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", dirPrefix, os.Getpid()))
	if err != nil {
		return nil, err
	}
	l := &Lab{Bin: bin, Dir: dir, prefix: namePrefix + strings.TrimPrefix(filepath.Base(dir), dirPrefix) + "-", hosts: map[string]*Host{}}
	if l.wire, err = l.Namespace(ctx, switchName); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	for _, step := range [][]string{
		{"-n", l.wire.ns, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0"},
		{"-n", l.wire.ns, "link", "set", "br0", "up"},
	} {
		if err := ip(ctx, step...); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// Close kills every process and removes every namespace and file of the lab.
func (l *Lab) Close() error {
	l.mu.Lock()
	procs, kept := l.procs, l.kept
	l.mu.Unlock()
	for _, k := range kept {
		k.Close()
	}
	for _, p := range procs {
		p.Kill()
	}
	err := remove(context.Background(), l.prefix)
	return errors.Join(err, os.RemoveAll(l.Dir))
}

// keep ends with the lab what runs in this process: a flow, a service, a client.
func (l *Lab) keep(k interface{ Close() }) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, k)
}

// Host makes a namespace with eth0 on the switch. The gateway, if it is valid,
// becomes the default route of its family.
func (l *Lab) Host(ctx context.Context, name string, mtu int, addrs []netip.Prefix, gateways []netip.Addr) (*Host, error) {
	return l.host(ctx, l.wire.ns, name, mtu, addrs, gateways)
}

// host makes a namespace with eth0 on the bridge of another one.
func (l *Lab) host(ctx context.Context, sw, name string, mtu int, addrs []netip.Prefix, gateways []netip.Addr) (*Host, error) {
	h := &Host{Name: name, lab: l, ns: l.prefix + name, sw: sw, mtu: mtu, addrs: addrs, gateways: gateways}
	l.mu.Lock()
	h.port, h.mac = fmt.Sprintf("p%d", len(l.hosts)), fmt.Sprintf("02:00:00:00:00:%02x", len(l.hosts))
	l.hosts[name] = h
	l.mu.Unlock()
	return h, h.boot(ctx)
}

// Namespace makes a namespace that is wired to nothing, such as a pod's.
func (l *Lab) Namespace(ctx context.Context, name string) (*Host, error) {
	h := &Host{Name: name, lab: l, ns: l.prefix + name}
	if err := errors.Join(os.MkdirAll(h.sockets(), 0o755), os.MkdirAll(wireguardSockets, 0o755)); err != nil {
		return nil, err
	}
	return h, ip(ctx, "netns", "add", h.ns)
}

// Find returns a host by name.
func (l *Lab) Find(name string) (*Host, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.hosts[name]
	return h, ok
}

// sweep removes the folders and namespaces of labs whose process is dead.
func sweep(ctx context.Context) error {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if dead(strings.TrimPrefix(filepath.Base(dir), dirPrefix)) {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	names, err := os.ReadDir(netnsDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range names {
		rest, ours := strings.CutPrefix(n.Name(), namePrefix)
		if !ours || !dead(rest) {
			continue
		}
		if err := remove(ctx, n.Name()); err != nil {
			return err
		}
	}
	return nil
}

// dead tells whether a lab's name, <pid>-…, is of a process that is gone.
func dead(name string) bool {
	pid, err := strconv.Atoi(strings.SplitN(name, "-", 2)[0])
	return err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// remove ends what still runs in the namespaces with a prefix, then them.
func remove(ctx context.Context, prefix string) error {
	paths, err := filepath.Glob(netnsDir + prefix + "*")
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range paths {
		name := filepath.Base(p)
		errs = append(errs, killAll(ctx, name))
		err := ip(ctx, "netns", "del", name)
		if _, gone := os.Lstat(p); errors.Is(gone, os.ErrNotExist) {
			err = nil // another lab swept it meanwhile
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// killAll ends what runs in a namespace.
func killAll(ctx context.Context, ns string) error {
	var errs []error
	out, _ := exec.CommandContext(ctx, "ip", "netns", "pids", ns).Output()
	for _, f := range strings.Fields(string(out)) {
		if pid, err := strconv.Atoi(f); err == nil && pid != os.Getpid() {
			errs = append(errs, ignore(syscall.Kill(pid, syscall.SIGKILL), syscall.ESRCH))
		}
	}
	return errors.Join(errs...)
}

func ignore(err error, what error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}

func ip(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("lab: ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// settling bounds how long the kernel may take to do what ip asked for: far longer
// than it does with too much else to do.
const settling = time.Minute

// untilIP repeats a question to ip until what it prints is as it shall be. What it
// warns of is not looked at: it does when another lab's namespace goes meanwhile.
func untilIP(ctx context.Context, right func(string) bool, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	return Until(ctx, "ip "+strings.Join(args, " "), func() (string, error) {
		out, err := exec.CommandContext(ctx, "ip", args...).Output()
		if err == nil && !right(string(out)) {
			err = ErrNotYet
		}
		return string(out), err
	})
}
