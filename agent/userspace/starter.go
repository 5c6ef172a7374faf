package userspace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/proto/note"
)

const (
	readyTime = 10 * time.Second // from the start of a process to its device
	termTime  = 3 * time.Second  // for a process to end by itself
)

// StarterConfig makes a Starter. The zero value is useful.
type StarterConfig struct {
	Log     *slog.Logger // nil: none
	Program string       // with the subcommand wireguard; this one if empty
	Systemd string       // where its manager listens; if empty, it is asked where it runs
}

// Starter has processes make devices in one network namespace. It is safe for
// concurrent use.
type Starter struct {
	cfg StarterConfig
	ns  *os.File
}

// NewStarter binds to the calling thread's network namespace.
func NewStarter(c StarterConfig) (*Starter, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Program == "" {
		c.Program = "/proc/self/exe" // the file may have been replaced by a later release's
	}
	if c.Systemd == "" {
		c.Systemd = findSystemd()
	}
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("userspace: network namespace of this thread: %w", err)
	}
	return &Starter{cfg: c, ns: ns}, nil
}

// Close lets go of the namespace. Processes and devices stay.
func (s *Starter) Close() error { return s.ns.Close() }

// Start has a process make a device, and returns when it can be configured.
func (s *Starter) Start(ctx context.Context, dev string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	if _, err := s.running(dev); err != nil {
		return err
	}
	start := s.spawn
	if s.cfg.Systemd != "" {
		start = func(ctx context.Context, dev string) error { return s.job(ctx, "StartUnit", dev) }
	}
	if err := start(ctx, dev); err != nil {
		return err
	}
	s.cfg.Log.Info("WireGuard process started", note.Dev, dev)
	return nil
}

// spawn starts a process in a session of its own, so that what ends the agent's does
// not end it. Its output goes nowhere: a pipe to somebody who went would kill it.
func (s *Starter) spawn(ctx context.Context, dev string) error {
	nowhere, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("userspace: %w", err)
	}
	defer nowhere.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("userspace: %w", err)
	}
	defer r.Close()
	var p *os.Process
	err = s.inside(func() (err error) {
		p, err = os.StartProcess(s.cfg.Program, []string{"weft-agent", "wireguard", "--ready-fd=3", dev}, &os.ProcAttr{
			Dir: "/", Files: []*os.File{nowhere, nowhere, nowhere, w}, Sys: &syscall.SysProcAttr{Setsid: true},
		})
		return err
	})
	w.Close()
	if err != nil {
		return fmt.Errorf("userspace: start the process of %s: %w", dev, err)
	}
	go func() { _, _ = p.Wait() }() // or it would stay as a zombie while this process lives
	if deadline, ok := ctx.Deadline(); ok {
		_ = r.SetReadDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := heard(r); err != nil {
		_ = p.Kill() // one that is late must not come later
		return err
	}
	return nil
}

// inside runs f on a thread in the Starter's namespace, which ends with it.
func (s *Starter) inside(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked
		if err := unix.Setns(int(s.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter the network namespace; the agent needs CAP_SYS_ADMIN: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// running is the process that holds a device; 0 if none does. One in another network
// namespace is an error: the sockets of both would have one name.
func (s *Starter) running(dev string) (pid int, err error) {
	f, err := os.Open(lockPath(dev))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("userspace: %w", err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err == nil {
		return 0, nil // the lock ends with the file
	} else if !errors.Is(err, unix.EWOULDBLOCK) {
		return 0, fmt.Errorf("userspace: lock %s: %w", lockPath(dev), err)
	}
	pid = holder(f)
	var ours, theirs unix.Stat_t
	err = errors.Join(unix.Fstat(int(s.ns.Fd()), &ours), unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &theirs))
	switch {
	case errors.Is(err, unix.ENOENT):
		return 0, nil // it has just ended
	case err != nil:
		return 0, fmt.Errorf("userspace: network namespace of process %d: %w", pid, err)
	case ours.Ino != theirs.Ino || ours.Dev != theirs.Dev:
		return 0, fmt.Errorf("userspace: process %d has a device %s in another network namespace; give each agent of a file system a %s of its own", pid, dev, dir)
	}
	return pid, nil
}

// Stop ends the process of a device and returns when it is gone, and the device with
// it.
func (s *Starter) Stop(ctx context.Context, dev string) error {
	pid, err := s.running(dev)
	if err == nil && s.cfg.Systemd != "" {
		err = s.job(ctx, "StopUnit", dev)
		if err == nil {
			pid, err = s.running(dev) // one that was started without systemd
		}
	}
	if err != nil || pid == 0 {
		return errors.Join(err, sweep(dev))
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("userspace: process %d of %s: %w", pid, dev, err)
	}
	defer unix.Close(fd)
	if again, err := s.running(dev); err != nil || again != pid {
		return err // it went, and the number may be another's
	}
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := unix.PidfdSendSignal(fd, sig, nil, 0); errors.Is(err, unix.ESRCH) {
			break
		} else if err != nil {
			return fmt.Errorf("userspace: end process %d of %s: %w", pid, dev, err)
		}
		if ended(ctx, fd) {
			break
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("userspace: end process %d of %s: %w", pid, dev, err)
	}
	s.cfg.Log.Info("WireGuard process ended", note.Dev, dev)
	return sweep(dev)
}

// Sweep takes away what a process of a device that was killed has left. A device that
// has a process is left alone, whoever's it is.
func (s *Starter) Sweep(dev string) error { return sweep(dev) }

// sweep takes away what a process that was killed has left.
func sweep(dev string) error {
	lock, err := try(dev)
	if err != nil || lock == nil {
		return nil // another has the device
	}
	defer release(dev, lock)
	c, err := net.Dial("unix", socketPath(dev))
	switch {
	case err == nil:
		return c.Close() // somebody else's, and alive
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(socketPath(dev))
	}
	return nil
}

// ended waits for a process (pidfd_open(2): the descriptor is readable then).
func ended(ctx context.Context, fd int) bool {
	for left := termTime; left > 0 && ctx.Err() == nil; left -= 100 * time.Millisecond {
		if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100); n > 0 {
			return true
		}
	}
	return false
}
