package detached

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/proto/note"
)

// reaped is how long the parent of a process may take to ask what became of it: the
// kernel tells it to others only then.
const reaped = time.Second

// End is the end of a process that nobody asked the Starter for.
type End struct {
	Name string
	Unit string // of systemd, that it would be
	PID  int
	How  string // "signal: killed", "exit status 2", or what Kill was told; empty: nobody knows
	At   time.Time
	Log  string // the file that has what it said last; empty: the journal of systemd has
}

// process is one that was started by this Starter, or found by Follow.
type process struct {
	pid    int
	file   *os.File    // pidfd_open(2): readable when it has ended
	child  *os.Process // nil: it is another's child
	wanted bool        // its end was asked for; guarded by Starter.mu
	why    string      // it was killed; guarded by Starter.mu
}

// Follow has Config.Ended told when a process ends that another Starter has started, such as that of an agent which ran before. Without such a process
// it does nothing.
func (s *Starter) Follow(name string) error {
	pid, err := s.running(name)
	if err != nil || pid == 0 || s.knows(name, pid) {
		return err
	}
	p, err := open(pid)
	if err != nil {
		return fmt.Errorf("detached: process %d of %s: %w", pid, name, err)
	}
	if again, err := s.running(name); err != nil || again != pid {
		p.file.Close()
		return err // it went, and the number may be another's
	}
	s.watch(name, p)
	return nil
}

// open takes hold of a process.
func open(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	return &process{pid: pid, file: os.NewFile(uintptr(fd), "pidfd")}, nil
}

func (s *Starter) knows(name string, pid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.processes[name] != nil && s.processes[name].pid == pid
}

// watch waits for the end of a process in a goroutine of its own, until Close.
func (s *Starter) watch(name string, p *process) {
	s.mu.Lock()
	s.processes[name] = p
	s.mu.Unlock()
	s.watchers.Add(1)
	go func() {
		defer s.watchers.Done()
		defer p.file.Close()
		stop := context.AfterFunc(s.life, func() { _ = p.file.SetReadDeadline(time.Unix(1, 0)) })
		defer stop()
		if awaited(p.file) == nil {
			s.ended(name, p, p.became())
		}
	}()
}

// awaited waits for the end of a process (pidfd_open(2): the descriptor is readable
// then), or the deadline of the file.
func awaited(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool { return readable(int(fd), 0) })
}

// became is what became of a process that has ended. Of one that is another's child the
// kernel tells it since Linux 6.15 (PIDFD_INFO_EXIT, fs/pidfs.c), once its parent has
// asked.
func (p *process) became() string {
	if p.child != nil {
		if state, err := p.child.Wait(); err == nil {
			return state.String()
		}
		return ""
	}
	for left := reaped; left > 0; left -= 10 * time.Millisecond {
		info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
		switch err := unix.IoctlPidfdInfo(int(p.file.Fd()), &info); {
		case err == nil && info.Mask&unix.PIDFD_INFO_EXIT != 0:
			return status(syscall.WaitStatus(info.Exit_code))
		case err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ESRCH):
			return "" // a kernel before that
		}
		time.Sleep(10 * time.Millisecond)
	}
	return ""
}

// status words what became of a process as package os does.
func status(w syscall.WaitStatus) string {
	switch {
	case w.Exited():
		return fmt.Sprintf("exit status %d", w.ExitStatus())
	case w.Signaled():
		return "signal: " + w.Signal().String()
	}
	return ""
}

// wants says that the end of a process is asked for.
func (s *Starter) wants(name string, pid int) {
	s.mu.Lock()
	if p := s.processes[name]; p != nil && p.pid == pid {
		p.wanted = true
	}
	s.mu.Unlock()
}

// ended takes the end of a process, and tells it if nobody asked for it.
func (s *Starter) ended(name string, p *process, how string) {
	at := time.Now()
	s.mu.Lock()
	if s.processes[name] == p {
		delete(s.processes, name)
	}
	wanted := p.wanted
	how = cmp.Or(p.why, how)
	s.mu.Unlock()
	if wanted {
		return
	}
	e := End{Name: name, Unit: s.cfg.Kind.Unit(name), PID: p.pid, How: how, At: at}
	if s.cfg.Systemd == "" {
		e.Log = s.words(name)
	}
	s.cfg.Log.Warn(s.cfg.Kind.What+" died", note.Object, name, note.PID, e.PID, note.Err, cmp.Or(how, "unknown"), note.Path, e.Log)
	if s.cfg.Ended != nil {
		s.cfg.Ended(e)
	}
}
