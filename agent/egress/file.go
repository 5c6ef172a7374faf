package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
)

// DefaultFile is read if it is there.
const DefaultFile = "/etc/weft/egress.yaml"

// lookEvery is how often the file is looked at. What is seen to change is read when
// it was the same in two looks: an editor writes in parts.
const lookEvery = time.Second

// FileConfig says which file bounds the node.
type FileConfig struct {
	Path     string
	Needed   bool   // without the file nothing is dialled; else everything is that servers permit
	OnChange func() // called when Bound or Problems are others; nil: nobody asks
	Log      *slog.Logger
}

// File follows the node's own file. It is safe for concurrent use.
type File struct {
	cfg FileConfig

	mu      sync.Mutex
	bound   egress.Bound
	read    stamp
	seen    stamp
	problem string
}

// stamp tells one content of a file from another, as far as the file system does.
type stamp struct {
	there bool
	inode uint64
	size  int64
	mode  fs.FileMode
	at    time.Time
	owner uint32
}

// OpenFile reads the file once.
func OpenFile(cfg FileConfig) *File {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &File{cfg: cfg}
	f.seen = f.stamp()
	f.load()
	return f
}

// Bound is what the file says now.
func (f *File) Bound() egress.Bound {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bound
}

// There tells whether there was a file when it was last read.
func (f *File) There() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.read.there
}

// Problems says what is wrong with the file.
func (f *File) Problems() []intent.Problem {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.problem == "" {
		return nil
	}
	return []intent.Problem{{
		Subject: "egress file",
		Cause:   fmt.Sprintf("nothing is dialled through this node: %s %s", f.cfg.Path, f.problem),
		Remedy:  "mend " + f.cfg.Path + "; it is read again by itself",
	}}
}

// Run reads the file when it has changed, until ctx ends.
func (f *File) Run(ctx context.Context) error {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			f.look()
		}
	}
}

// look reads the file if it is another than was read, and the same as in the look
// before.
func (f *File) look() {
	now := f.stamp()
	f.mu.Lock()
	settled := now == f.seen
	f.seen = now
	due := settled && now != f.read
	f.mu.Unlock()
	if due && f.load() && f.cfg.OnChange != nil {
		f.cfg.OnChange()
	}
}

// load reads the file and says whether that is news.
func (f *File) load() (news bool) {
	read, bound, err := f.take()
	problem := ""
	switch {
	case errors.Is(err, fs.ErrNotExist) && !f.cfg.Needed:
	case errors.Is(err, fs.ErrNotExist):
		problem = "is not there, and --egress-file names it"
	case err != nil:
		problem = err.Error()
	}
	if problem != "" {
		bound = egress.Bound{Closed: f.cfg.Path + " " + problem}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	news = f.problem != problem || read != f.read
	f.bound, f.problem, f.read = bound, problem, read
	if problem != "" && news {
		f.cfg.Log.Error("egress file not usable", note.Path, f.cfg.Path, note.Err, problem, note.Do, "mend it; until then nothing is dialled through this node")
	} else if news && read.there {
		f.cfg.Log.Info("egress file read", note.Path, f.cfg.Path)
	}
	return news
}

// take reads the file that is there now.
func (f *File) take() (stamp, egress.Bound, error) {
	file, err := os.OpenFile(f.cfg.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would wait for its writer
	if errors.Is(err, fs.ErrNotExist) {
		return stamp{}, egress.Bound{}, fs.ErrNotExist
	}
	if err != nil {
		return f.stamp(), egress.Bound{}, fmt.Errorf("cannot be read: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return stamp{}, egress.Bound{}, fmt.Errorf("cannot be read: %w", err)
	}
	s := stampOf(info)
	switch {
	case !info.Mode().IsRegular():
		return s, egress.Bound{}, errors.New("is not a file")
	case s.owner != 0 && s.owner != uint32(os.Geteuid()):
		return s, egress.Bound{}, fmt.Errorf("belongs to user %d, who could open what it bounds; chown root it", s.owner)
	case info.Mode().Perm()&0o022 != 0:
		return s, egress.Bound{}, fmt.Errorf("has mode %04o: others could write what it bounds; chmod 0644 it", info.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return s, egress.Bound{}, fmt.Errorf("cannot be read: %w", err)
	}
	bound, err := Parse(b)
	return s, bound, err
}

func (f *File) stamp() stamp {
	info, err := os.Stat(f.cfg.Path)
	if err != nil {
		return stamp{}
	}
	return stampOf(info)
}

func stampOf(info fs.FileInfo) stamp {
	s := stamp{there: true, size: info.Size(), mode: info.Mode(), at: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode, s.owner = sys.Ino, sys.Uid
	}
	return s
}
