package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/userspace"
	"github.com/weft-net/weft/integration/lab"
)

// racers are the agent's driver with a device, and a device of wireguard-go's. Both
// devices are processes.
type racers struct {
	keyring    keyring
	link, full datapath.State
	all        []byte // what makes all peers, as wireguard-go takes it
	port       uint16 // of the endpoint that changes

	starter *userspace.Starter
	drv     *kernel.Kernel
	dev     int // process

	bare *exec.Cmd
	conn net.Conn
	in   *bufio.Reader
}

func (r *racers) open(ctx context.Context, bin, bare string) (err error) {
	if r.link, r.full, err = wants(r.keyring); err != nil {
		return err
	}
	r.all, r.port = uapi(r.full), 1024
	if r.starter, err = userspace.NewStarter(userspace.StarterConfig{Program: filepath.Join(bin, "weft-agent")}); err != nil {
		return err
	}
	if r.drv, err = driver(ctx, r.keyring, r.starter); err != nil {
		return err
	}
	if err := apply(ctx, r.drv, r.link); err != nil {
		return err
	}
	lock, err := os.ReadFile(sockets + datapath.WGLink0 + ".lock")
	if err != nil {
		return err
	}
	if r.dev, err = strconv.Atoi(strings.TrimSpace(string(lock))); err != nil {
		return err
	}
	return r.openBare(ctx, bare)
}

// openBare starts wireguard-go, gives its device a key and sets it up.
func (r *racers) openBare(ctx context.Context, bare string) (err error) {
	r.bare = exec.Command(bare, "-f", bareDevice)
	r.bare.Stderr = os.Stderr
	if err := r.bare.Start(); err != nil {
		return err
	}
	err = lab.Until(ctx, bareDevice+" is there", func() (_ string, err error) {
		r.conn, err = net.Dial("unix", sockets+bareDevice+".sock")
		return "", err
	})
	if err != nil {
		return err
	}
	r.in = bufio.NewReader(r.conn)
	private := r.keyring.private
	if err := r.set(fmt.Appendf(nil, "set=1\nprivate_key=%x\nlisten_port=51830\n\n", private)); err != nil {
		return err
	}
	return exec.Command("ip", "link", "set", bareDevice, "up").Run()
}

func (r *racers) close() {
	if r.conn != nil {
		_ = r.conn.Close()
	}
	if r.bare != nil && r.bare.Process != nil {
		_ = r.bare.Process.Kill()
		_ = r.bare.Wait()
	}
	if r.drv != nil {
		_ = r.starter.Stop(context.Background(), datapath.WGLink0)
		_ = r.drv.Close()
	}
	if r.starter != nil {
		_ = r.starter.Close()
	}
}

// set is one request to wireguard-go, and its answer.
func (r *racers) set(request []byte) error {
	if _, err := r.conn.Write(request); err != nil {
		return err
	}
	for first := true; ; first = false {
		text, err := r.in.ReadString('\n')
		switch {
		case err != nil:
			return err
		case first && text != "errno=0\n":
			return fmt.Errorf("wireguard-go says %q", text)
		case text == "\n":
			return nil
		}
	}
}

// round measures everything once, ours and theirs in turns.
func (r *racers) round(ctx context.Context, m *mesh1000) error {
	steps := []struct {
		into *cost
		pid  int
		do   func() error
		each int
	}{
		{&m.Apply, r.dev, func() error { return apply(ctx, r.drv, r.full) }, 1},
		{&m.BareApply, r.bare.Process.Pid, func() error { return r.set(r.all) }, 1},
		{&m.Change, r.dev, func() error { return r.change(ctx) }, changes},
		{&m.BareChange, r.bare.Process.Pid, r.bareChange, changes},
	}
	for _, s := range steps {
		if err := s.into.of(s.pid, s.each, s.do); err != nil {
			return err
		}
	}
	return errors.Join(apply(ctx, r.drv, r.link), r.set([]byte("set=1\nreplace_peers=true\n\n")))
}

// change moves one peer's endpoint, as the agent's loop does while its memory of the
// device stands.
func (r *racers) change(ctx context.Context) error {
	old := r.full[one(r.full).Key()].(datapath.WGPeer)
	var errs []error
	for range changes {
		next := r.next(old)
		errs = append(errs, r.drv.Apply(ctx, []datapath.Op{{Old: old, New: next}})...)
		old = next
	}
	return errors.Join(errs...)
}

func (r *racers) bareChange() error {
	p := one(r.full)
	var b bytes.Buffer
	for range changes {
		b.Reset()
		p = r.next(p)
		fmt.Fprintf(&b, "set=1\npublic_key=%x\nendpoint=%v\n\n", p.Peer[:], p.Endpoint)
		if err := r.set(b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// next is the peer with an endpoint that no device has seen.
func (r *racers) next(p datapath.WGPeer) datapath.WGPeer {
	r.port = max(1024, r.port+1)
	return moved(p, r.port)
}

// of measures do, which does something so many times, by the clock and in CPU time of
// this process and another one.
func (c *cost) of(pid, each int, do func() error) error {
	before, err := used(pid)
	if err != nil {
		return err
	}
	self, began := own(), time.Now()
	if err := do(); err != nil {
		return err
	}
	wall, mine := time.Since(began), own()-self
	after, err := used(pid)
	if err != nil {
		return err
	}
	c.Wall = append(c.Wall, wall.Seconds()*1000/float64(each))
	c.CPU = append(c.CPU, (after-before+mine).Seconds()*1000/float64(each))
	return nil
}

// own is the CPU time of this process.
func own() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		panic(err) // a clock that every Linux has
	}
	return time.Duration(t.Nano())
}
