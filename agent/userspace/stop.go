package userspace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/proto/note"
)

// dialTime bounds the question whether somebody listens on a socket.
const dialTime = time.Second

// Stop ends the process of a device and returns when it is gone, and the device with
// it.
func (s *Starter) Stop(ctx context.Context, dev string) error {
	pid, err := s.running(dev)
	s.wants(dev, pid)
	if err == nil && s.cfg.Systemd != "" {
		err = s.job(ctx, "StopUnit", dev)
		if err == nil {
			pid, err = s.running(dev) // one that was started without systemd
		}
	}
	if err != nil || pid == 0 {
		return errors.Join(err, sweep(ctx, dev))
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
	s.wants(dev, pid)
	if err := terminate(ctx, fd); err != nil {
		return fmt.Errorf("userspace: end process %d of %s: %w", pid, dev, err)
	}
	s.cfg.Log.Info("WireGuard process ended", note.Dev, dev, note.PID, pid)
	return sweep(ctx, dev)
}

// errSurvives is of a process that the kernel does not end.
var errSurvives = fmt.Errorf("it is there %v after SIGKILL: it hangs in a system call; look at its state with ps, and at the kernel's log", termTime)

// terminate ends a process, by force if it must.
func terminate(ctx context.Context, fd int) error {
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		switch err := unix.PidfdSendSignal(fd, sig, nil, 0); {
		case errors.Is(err, unix.ESRCH):
			return nil
		case err != nil:
			return err
		case gone(ctx, fd):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
	return errSurvives
}

// Sweep takes away what a process of a device that was killed has left. A device that
// has a process is left alone, whoever's it is.
func (s *Starter) Sweep(dev string) error { return sweep(s.life, dev) }

// sweep takes away what a process that was killed has left.
func sweep(ctx context.Context, dev string) error {
	lock, err := try(dev)
	if err != nil || lock == nil {
		return nil // another has the device
	}
	defer release(dev, lock)
	by := net.Dialer{Timeout: dialTime}
	c, err := by.DialContext(ctx, "unix", socketPath(dev))
	switch {
	case err == nil:
		return c.Close() // somebody else's, and alive
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(socketPath(dev))
	}
	return nil
}

// gone waits for the end of a process.
func gone(ctx context.Context, fd int) bool {
	for left := termTime; left > 0 && ctx.Err() == nil; left -= 100 * time.Millisecond {
		if readable(fd, 100*time.Millisecond) {
			return true
		}
	}
	return false
}

// readable tells whether a descriptor can be read within a time.
func readable(fd int, within time.Duration) bool {
	n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(within/time.Millisecond))
	return n > 0
}
