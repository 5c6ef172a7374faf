package main

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// device is a WireGuard device on a host, made by a process.
type device struct {
	host *lab.Host
	name string
	port int
	pid  int
	key  *ecdh.PrivateKey
}

// command is what makes a device of a name.
type command func(name string) []string

func (b *bench) weft(name string) []string        { return []string{"weft-agent", "wireguard", name} }
func (b *bench) wireguardGo(name string) []string { return []string{b.bare, "-f", name} }

// open makes a device with a fresh key, up, with an address.
func open(ctx context.Context, h *lab.Host, name string, port int, by command, addrs ...string) (*device, error) {
	p, err := h.Start(name, by(name)...)
	if err != nil {
		return nil, err
	}
	d := &device{host: h, name: name, port: port, pid: p.Pid()}
	if err := lab.Until(ctx, name+" is there", func() (string, error) { return h.Run(ctx, "wg", "show", name, "public-key") }); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, p.Tail(5))
	}
	if err := d.rekey(ctx); err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if _, err := h.Run(ctx, "ip", "addr", "add", a, "dev", name); err != nil {
			return nil, err
		}
	}
	_, err = h.Run(ctx, "sh", "-c", fmt.Sprintf("wg set %s listen-port %d && ip link set %[1]s mtu 1420 up", name, port))
	return d, err
}

// rekey gives the device another key, in place.
func (d *device) rekey(ctx context.Context) (err error) {
	if d.key, err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
		return err
	}
	cmd := d.host.Command(ctx, "wg", "set", d.name, "private-key", "/dev/stdin")
	cmd.Stdin = strings.NewReader(base64.StdEncoding.EncodeToString(d.key.Bytes()) + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("key of %s: %w: %s", d.name, err, out)
	}
	return nil
}

func (d *device) public() string {
	return base64.StdEncoding.EncodeToString(d.key.PublicKey().Bytes())
}

// peer has the device send prefixes to another.
func (d *device) peer(ctx context.Context, other *device, endpoint, allowed string) error {
	_, err := d.host.Run(ctx, "wg", "set", d.name, "peer", other.public(), "endpoint", endpoint, "allowed-ips", allowed)
	return err
}

// used is the CPU time that the process has had (proc_pid_schedstat in
// Documentation/scheduler/sched-stats.rst: nanoseconds, of each thread).
func used(pid int) (time.Duration, error) {
	tasks, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/schedstat")
	if err != nil {
		return 0, err
	}
	var all time.Duration
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the thread has just ended
		}
		if err != nil {
			return 0, err
		}
		var ns int64
		if _, err := fmt.Sscan(string(text), &ns); err != nil {
			return 0, fmt.Errorf("%s: %q: %w", path, text, err)
		}
		all += time.Duration(ns)
	}
	if all == 0 {
		return 0, fmt.Errorf("process %d: the kernel counts no CPU time of it", pid)
	}
	return all, nil
}
