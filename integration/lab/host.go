package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Host is one namespace.
type Host struct {
	Name string
	Env  []string // of the commands that start from now on, NAME=value, beside this process's

	lab      *Lab
	ns       string
	sw       string // the namespace of the switch
	port     string // its end of the wire, on the switch
	mac      string // of eth0; a machine keeps it when it reboots
	mtu      int
	addrs    []netip.Prefix
	gateways []netip.Addr
	boots    int
}

// Namespace is the name under which `ip netns` knows the host.
func (h *Host) Namespace() string { return h.ns }

// Path is the namespace's file.
func (h *Host) Path() string { return netnsDir + h.ns }

// Dir is a folder of the host's own.
func (h *Host) Dir() string { return filepath.Join(h.lab.Dir, h.Name) }

// BootID is the file that stands for /proc/sys/kernel/random/boot_id, which no
// namespace has of its own.
func (h *Host) BootID() string { return filepath.Join(h.Dir(), "boot-id") }

// Reboot ends every process of the host and makes its namespace anew, with
// nothing in it but the wire.
func (h *Host) Reboot(ctx context.Context) error {
	h.lab.mu.Lock()
	procs := slices.Clone(h.lab.procs)
	h.lab.mu.Unlock()
	for _, p := range procs {
		if p.host == h {
			p.Kill()
		}
	}
	// The kernel ends a namespace some time after its name: the wire goes now. What a
	// process of ours started and left is ended too, and /run is empty after a boot.
	if err := errors.Join(ip(ctx, "-n", h.sw, "link", "del", h.port), killAll(ctx, h.ns), ip(ctx, "netns", "del", h.ns), os.RemoveAll(h.sockets())); err != nil {
		return err
	}
	return h.boot(ctx)
}

// boot makes the namespace and wires it.
func (h *Host) boot(ctx context.Context) error {
	if err := h.make(ctx); err != nil {
		return err
	}
	h.boots++
	if err := os.WriteFile(h.BootID(), fmt.Appendf(nil, "%s-boot-%d\n", h.ns, h.boots), 0o644); err != nil {
		return err
	}
	return h.wire(ctx)
}

// Cut takes the host's wire off the switch without a word: eth0 stays up, and
// nothing that is sent arrives. Mend puts it back.
func (h *Host) Cut(ctx context.Context) error {
	return ip(ctx, "-n", h.sw, "link", "set", h.port, "nomaster")
}

// Mend ends what Cut began.
func (h *Host) Mend(ctx context.Context) error {
	return ip(ctx, "-n", h.sw, "link", "set", h.port, "master", "br0")
}

// Rewire removes eth0 and makes it anew, with its addresses and routes.
func (h *Host) Rewire(ctx context.Context) error {
	if err := ip(ctx, "-n", h.ns, "link", "del", "eth0"); err != nil {
		return err
	}
	return h.wire(ctx)
}

// wire makes eth0 and its end on the switch.
func (h *Host) wire(ctx context.Context) error {
	sw, mtu := h.sw, strconv.Itoa(h.mtu)
	steps := [][]string{
		{"link", "add", "eth0", "mtu", mtu, "address", h.mac, "netns", h.ns, "type", "veth", "peer", "name", h.port, "mtu", mtu, "netns", sw},
		{"-n", sw, "link", "set", h.port, "master", "br0", "up"},
		{"-n", h.ns, "link", "set", "eth0", "up"},
	}
	for _, a := range h.addrs {
		steps = append(steps, []string{"-n", h.ns, "addr", "add", a.String(), "dev", "eth0"})
	}
	for _, g := range h.gateways {
		step := []string{"-n", h.ns, "route", "add", "default", "via", g.String(), "dev", "eth0"}
		if !slices.ContainsFunc(h.addrs, func(a netip.Prefix) bool { return a.Contains(g) }) {
			step = append(step, "onlink")
		}
		steps = append(steps, step)
	}
	for _, step := range steps {
		if err := ip(ctx, step...); err != nil {
			return err
		}
	}
	return h.carries(ctx)
}

// carries returns once packets pass: carrier, and with it the port and the bridge,
// follow some time after the commands that asked for them, and so do addresses.
func (h *Host) carries(ctx context.Context) error {
	for _, q := range []struct{ ns, dev, state string }{
		{h.sw, h.port, "bridge_slave state forwarding"},
		{h.sw, "br0", "state UP"},
		{h.ns, "eth0", "state UP"},
	} {
		says := func(out string) bool { return strings.Contains(out, q.state) }
		if err := untilIP(ctx, says, "-n", q.ns, "-d", "link", "show", q.dev); err != nil {
			return err
		}
	}
	return h.addressed(ctx)
}

// addressed returns once the host answers to its IPv6 addresses. The kernel makes
// one usable from a work queue, also where it looks for no duplicates: till then it
// is tentative and not in its group (RFC 4862 section 5.4.2), so that a neighbour's
// solicitation is not heard, the next comes a second later, and what is sent
// meanwhile is lost as far as queues do not hold it.
func (h *Host) addressed(ctx context.Context) error {
	none := func(out string) bool { return strings.TrimSpace(out) == "" }
	return untilIP(ctx, none, "-n", h.ns, "-6", "-o", "addr", "show", "tentative")
}

// make creates the namespace. Underlay addresses must be usable at once and
// survive a link that goes down, as they do on machines where a network manager
// puts them back.
func (h *Host) make(ctx context.Context) error {
	if err := errors.Join(os.MkdirAll(h.sockets(), 0o755), os.MkdirAll(wireguardSockets, 0o755)); err != nil {
		return err
	}
	if err := ip(ctx, "netns", "add", h.ns); err != nil {
		return err
	}
	if err := ip(ctx, "-n", h.ns, "link", "set", "lo", "up"); err != nil {
		return err
	}
	_, err := h.Run(ctx, "sh", "-c", `cd /proc/sys/net
for c in all default; do
  echo 0 >ipv6/conf/$c/accept_dad; echo 1 >ipv6/conf/$c/keep_addr_on_down; echo 0 >ipv6/conf/$c/accept_ra
done
echo "0 2147483647" >ipv4/ping_group_range`)
	return err
}

// wireguardSockets is where userspace WireGuard devices are configured, by name.
// Names are of a namespace, files are of the machine: each host has its own folder
// there, and shares all other files with it.
const wireguardSockets = "/var/run/wireguard"

// sockets is what the host has for wireguardSockets.
func (h *Host) sockets() string { return filepath.Join(h.Dir(), "wireguard") }

// inside runs a command in a mount namespace of its own, which ip-netns(8) has made.
const inside = `mount --bind "$0" ` + wireguardSockets + ` && exec "$@"`

// Command prepares a command in the namespace. Our own binaries come first in
// its PATH.
func (h *Host) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.ns, "sh", "-c", inside, h.sockets()}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+h.lab.Bin+":"+os.Getenv("PATH"), "XDG_CACHE_HOME="+filepath.Join(h.lab.Dir, "cache"),
		"HTTPS_PROXY=", "https_proxy=") // of whoever runs the tests: it is no host of the lab's
	cmd.Env = append(cmd.Env, h.Env...)
	return cmd
}

// Run runs a command in the namespace and returns what it printed, also with an
// error.
func (h *Host) Run(ctx context.Context, args ...string) (string, error) {
	out, err := h.Command(ctx, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("lab: on %s: %s: %w: %s", h.Name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return string(out), err
}

// Process is a process in a namespace, with its output in a file.
type Process struct {
	Name string
	Log  string

	cmd    *exec.Cmd
	host   *Host
	paused atomic.Bool
	done   chan struct{}
	ready  chan struct{} // closed at READY=1, for those started so
	err    error
}

// Start starts a process that lives until Kill, Stop or the lab's end. Its
// output is appended to <host's folder>/<name>.log.
func (h *Host) Start(name string, args ...string) (*Process, error) {
	p := &Process{Name: name, host: h, Log: filepath.Join(h.Dir(), name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = h.Command(context.Background(), args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("lab: on %s: %s: %w", h.Name, strings.Join(args, " "), err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	h.lab.mu.Lock()
	h.lab.procs = append(h.lab.procs, p)
	h.lab.mu.Unlock()
	return p, nil
}

// Pid of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how it ended, once Done is closed.
func (p *Process) Err() error { return p.err }

// Signal sends a signal.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Pause stops the process as a machine that hangs does; its sockets stay open.
// Resume lets it go on.
func (p *Process) Pause() error {
	p.paused.Store(true)
	return p.Signal(syscall.SIGSTOP)
}

// Resume ends what Pause began.
func (p *Process) Resume() error {
	p.paused.Store(false)
	return p.Signal(syscall.SIGCONT)
}

// Running tells whether the process has neither ended nor been paused.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return !p.paused.Load()
	}
}

// Kill ends the process as kill -9 does, and waits for the end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop asks the process to end and waits; after the time given it is killed, and
// that is an error.
func (p *Process) Stop(within time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-time.After(within):
		p.Kill()
		return fmt.Errorf("lab: %s did not end within %v of SIGTERM", p.Name, within)
	}
}

// Tail returns the last lines of the log.
func (p *Process) Tail(lines int) string {
	b, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
