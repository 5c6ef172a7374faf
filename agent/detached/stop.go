package detached

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

// Stop ends a process and returns when it is gone. None is success.
func (s *Starter) Stop(ctx context.Context, name string) error {
	pid, err := s.running(name)
	s.wants(name, pid)
	if err == nil && s.cfg.Systemd != "" {
		err = s.job(ctx, "StopUnit", name)
		if err == nil {
			pid, err = s.running(name) // one that was started without systemd
		}
	}
	if err != nil || pid == 0 {
		return errors.Join(err, s.sweep(ctx, name))
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("detached: process %d of %s: %w", pid, name, err)
	}
	defer unix.Close(fd)
	if again, err := s.running(name); err != nil || again != pid {
		return err // it went, and the number may be another's
	}
	s.wants(name, pid)
	if err := terminate(ctx, fd, unix.SIGTERM, unix.SIGKILL); err != nil {
		return fmt.Errorf("detached: end process %d of %s: %w", pid, name, err)
	}
	s.cfg.Log.Info(s.cfg.Kind.What+" ended", note.Object, name, note.PID, pid)
	return s.sweep(ctx, name)
}

// Kill ends a process that hangs, and returns when it is gone. Its end is told as that of
// one that nobody has stopped, with why. None is success.
func (s *Starter) Kill(ctx context.Context, name, why string) error {
	pid, err := s.running(name)
	if err != nil || pid == 0 {
		return errors.Join(err, s.sweep(ctx, name))
	}
	if err := s.Follow(name); err != nil {
		return err
	}
	p, err := open(pid)
	if err != nil {
		return fmt.Errorf("detached: process %d of %s: %w", pid, name, err)
	}
	defer p.file.Close()
	if again, err := s.running(name); err != nil || again != pid {
		return err // it went, and the number may be another's
	}
	s.mu.Lock()
	if known := s.processes[name]; known != nil && known.pid == pid {
		known.why = why
	}
	s.mu.Unlock()
	if err := terminate(ctx, int(p.file.Fd()), unix.SIGKILL); err != nil {
		return fmt.Errorf("detached: kill process %d of %s: %w", pid, name, err)
	}
	return s.sweep(ctx, name)
}

// errSurvives is of a process that the kernel does not end.
var errSurvives = fmt.Errorf("it is there %v after SIGKILL: it hangs in a system call; look at its state with ps, and at the kernel's log", termTime)

// terminate ends a process by the first of some signals that it heeds.
func terminate(ctx context.Context, fd int, signals ...unix.Signal) error {
	for _, sig := range signals {
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

// Sweep takes away what a process that was killed has left. What belongs to one that
// lives is left alone, whoever's it is.
func (s *Starter) Sweep(name string) error { return s.sweep(s.life, name) }

// sweep takes away what a process that was killed has left.
func (s *Starter) sweep(ctx context.Context, name string) error {
	lock, err := Try(s.cfg.Kind.Lock(name))
	if err != nil || lock == nil {
		return nil // another has it, or it cannot be there
	}
	defer Release(s.cfg.Kind.Lock(name), lock)
	by := net.Dialer{Timeout: dialTime}
	c, err := by.DialContext(ctx, "unix", s.cfg.Kind.Socket(name))
	switch {
	case err == nil:
		return c.Close() // somebody else's, and alive
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(s.cfg.Kind.Socket(name))
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

// Mend says which process is meant, and what a person types if it hangs.
func (s *Starter) Mend(name string) (process, line string) {
	process, line = "its process", "end who holds "+s.cfg.Kind.Lock(name)
	if pid, err := s.running(name); err == nil && pid != 0 {
		process, line = fmt.Sprintf("its process %d", pid), fmt.Sprintf("kill -9 %d", pid)
	}
	if s.cfg.Systemd != "" {
		line = "systemctl restart " + s.cfg.Kind.Unit(name)
	}
	return process, line
}
