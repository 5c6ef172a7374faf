package detached

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/proto/note"
)

// mostWords bounds, in bytes, the file of what the processes of a name have said before
// another is started. One says a few lines, and at its end the stacks of its goroutines.
const mostWords = 1 << 20

// words is the file of what the processes of a name have said; empty if nobody hears
// them.
func (s *Starter) words(name string) string {
	if s.cfg.Words == "" {
		return ""
	}
	return filepath.Join(s.cfg.Words, name+".log")
}

// listen opens that file for one more process. One that has grown is set aside, over the
// one before: a process that dies again and again must not fill the disk. That there is
// no room for words is no reason to have no process: then it is nil.
func (s *Starter) listen(name string) *os.File {
	path := s.words(name)
	if path == "" {
		return nil
	}
	info, err := os.Lstat(path)
	if err == nil && info.Size() > mostWords {
		err = os.Rename(path, path+".old")
	}
	var f *os.File
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	}
	if err != nil {
		s.cfg.Log.Warn(s.cfg.Kind.What+" not heard", note.Object, name, note.Err, err)
		return nil
	}
	return f
}
