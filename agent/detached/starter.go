package detached

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/proto/note"
)

const (
	readyTime = 10 * time.Second // from the start of a process to its word that it is ready
	termTime  = 3 * time.Second  // for a process to end by itself
)

// Config makes a Starter.
type Config struct {
	Kind    Kind
	Log     *slog.Logger // nil: none
	Program string       // that is started; this one if empty
	Systemd string       // where its manager listens; if empty, it is asked where it runs
	Words   string       // folder for what processes say last, where there is no systemd; empty: nobody hears it
	Ended   func(End)    // called when a process has ended that nobody stopped; nil: nobody asks
}

// Starter starts processes of a Kind in one network namespace. It is safe for concurrent
// use.
type Starter struct {
	cfg  Config
	ns   *os.File
	life context.Context // ends with Close
	end  context.CancelFunc

	watchers sync.WaitGroup

	mu        sync.Mutex
	processes map[string]*process // that are followed, by name
}

// NewStarter binds to the calling thread's network namespace.
func NewStarter(c Config) (*Starter, error) {
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
		return nil, fmt.Errorf("detached: network namespace of this thread: %w", err)
	}
	s := &Starter{cfg: c, ns: ns, processes: map[string]*process{}}
	s.life, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Close lets go of the namespace, and waits for its goroutines. Processes stay.
func (s *Starter) Close() error {
	s.end()
	s.watchers.Wait()
	return s.ns.Close()
}

// Start starts a process, and returns when it can be spoken with.
func (s *Starter) Start(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	if _, err := s.running(name); err != nil {
		return err
	}
	start := s.spawn
	if s.cfg.Systemd != "" {
		start = s.unit
	}
	if err := start(ctx, name); err != nil {
		return err
	}
	s.cfg.Log.Info(s.cfg.Kind.What+" started", note.Object, name)
	return nil
}

// unit starts the unit of a process.
func (s *Starter) unit(ctx context.Context, name string) error {
	if err := s.job(ctx, "StartUnit", name); err != nil {
		return err
	}
	if err := s.Follow(name); err != nil {
		s.cfg.Log.Warn(s.cfg.Kind.What+" not followed", note.Object, name, note.Err, err)
	}
	return nil
}

// spawn starts a process in a session of its own, so that what ends the agent's does
// not end it. What it says goes to a file: a pipe to somebody who went would kill it.
func (s *Starter) spawn(ctx context.Context, name string) error {
	nowhere, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("detached: %w", err)
	}
	defer nowhere.Close()
	words := s.listen(name)
	if words == nil {
		words = nowhere
	}
	defer words.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("detached: %w", err)
	}
	defer r.Close()
	var child *os.Process
	err = s.inside(func() (err error) {
		child, err = os.StartProcess(s.cfg.Program, s.args(name), &os.ProcAttr{
			Dir: "/", Files: []*os.File{nowhere, words, words, w}, Sys: &syscall.SysProcAttr{Setsid: true},
		})
		return err
	})
	w.Close()
	if err != nil {
		return fmt.Errorf("detached: start the %s %s: %w", s.cfg.Kind.What, name, err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = r.SetReadDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err = heard(r)
	p, perr := open(child.Pid)
	if err = errors.Join(err, perr); err != nil {
		_ = child.Kill()                    // one that is late must not come later
		go func() { _, _ = child.Wait() }() // or it would stay as a zombie
		if at := s.words(name); at != "" {
			err = fmt.Errorf("%w (what it said last: %s)", err, at)
		}
		return err
	}
	p.child = child
	s.watch(name, p)
	return nil
}

// args are the program's name and its arguments.
func (s *Starter) args(name string) []string {
	all := s.cfg.Kind.Args(name)
	return append([]string{"weft-agent", all[0], "--ready-fd=3"}, all[1:]...)
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

// running is the process of a name; 0 if there is none. One in another network
// namespace is an error: the sockets of both would have one name.
func (s *Starter) running(name string) (pid int, err error) {
	f, err := os.Open(s.cfg.Kind.Lock(name))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("detached: %w", err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err == nil {
		return 0, nil // the lock ends with the file
	} else if !errors.Is(err, unix.EWOULDBLOCK) {
		return 0, fmt.Errorf("detached: lock %s: %w", s.cfg.Kind.Lock(name), err)
	}
	pid = holder(f)
	var ours, theirs unix.Stat_t
	err = errors.Join(unix.Fstat(int(s.ns.Fd()), &ours), unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &theirs))
	switch {
	case errors.Is(err, unix.ENOENT):
		return 0, nil // it has just ended
	case err != nil:
		return 0, fmt.Errorf("detached: network namespace of process %d: %w", pid, err)
	case ours.Ino != theirs.Ino || ours.Dev != theirs.Dev:
		return 0, fmt.Errorf("detached: process %d is the %s %s of another network namespace; give each agent of a file system a %s of its own", pid, s.cfg.Kind.What, name, filepath.Dir(s.cfg.Kind.Lock(name)))
	}
	return pid, nil
}
