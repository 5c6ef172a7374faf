package pod

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/disk"
	"github.com/weft-net/weft/proto/schema"
)

// What a record's file is called after the name of its device.
const (
	suffixAdding     = ".adding"     // its ADD runs, or was cut off
	suffixReady      = ".json"       // its ADD succeeded
	suffixResting    = ".resting"    // its addresses rest since the file's time
	suffixUnreadable = ".unreadable" // set aside for a person
)

// shelf is the folder of records. It is safe for concurrent use by callers that
// do not work on one record at once.
type shelf struct {
	dir  string
	sync groupSync
}

// found is one file of the folder.
type found struct {
	record Record
	suffix string
	time   time.Time // of the file
}

// openShelf makes the folder if it is not there and removes what a crash left of
// a file that was being written.
func openShelf(dir string) (*shelf, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("pod: make the folder of records: %w", err)
	}
	disk.Sweep(dir)
	return &shelf{dir: dir, sync: groupSync{dir: dir}}, nil
}

// load reads all records. What cannot be read is set aside, unless it rests; what a later release
// wrote is an error, before anything is changed.
func (s *shelf) load() ([]found, []aside, error) {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("pod: read the folder of records: %w", err)
	}
	var records []found
	var asides []aside
	for _, f := range files {
		dev, suffix := filepath.Base(f.Name()), filepath.Ext(f.Name())
		dev = strings.TrimSuffix(dev, suffix)
		switch suffix {
		case suffixAdding, suffixReady, suffixResting, suffixUnreadable:
		default:
			continue
		}
		got, b, err := s.read(dev, suffix)
		if newer := (schema.Newer{}); errors.As(err, &newer) {
			newer.What = filepath.Join(s.dir, f.Name())
			return nil, nil, fmt.Errorf("pod: record: %w", newer)
		}
		if err != nil && suffix == suffixResting { // no pod has it: what seems to be in it rests
			got, err = found{record: Record{HostDev: dev, Addrs: salvage(b)}, suffix: suffix, time: got.time}, nil
		}
		if err == nil && suffix != suffixUnreadable {
			records = append(records, got)
		} else if err != nil {
			asides = append(asides, aside{path: filepath.Join(s.dir, f.Name()), hostDev: dev, cause: err.Error(), bytes: b})
		}
	}
	for i, a := range asides {
		asides[i].path = s.setAside(a)
	}
	return records, asides, nil
}

func (s *shelf) read(dev, suffix string) (found, []byte, error) {
	path := s.path(dev, suffix)
	info, err := os.Stat(path)
	if err != nil {
		return found{}, nil, err
	}
	if info.Size() > maxRecord {
		return found{}, nil, fmt.Errorf("%d bytes; at most %d are read", info.Size(), maxRecord)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return found{}, nil, err
	}
	r, err := decode(b, dev)
	if err == nil && suffix == suffixUnreadable {
		err = errors.New("was set aside by an earlier start")
	}
	return found{record: r, suffix: suffix, time: info.ModTime()}, b, err
}

func (s *shelf) setAside(a aside) string {
	to := s.path(a.hostDev, suffixUnreadable)
	if a.path != to && os.Rename(a.path, to) != nil {
		return a.path
	}
	return to
}

func (s *shelf) path(dev, suffix string) string { return filepath.Join(s.dir, dev+suffix) }

// write puts a record on the disk as adding, and returns when it is there.
func (s *shelf) write(r Record) error {
	b, err := r.encode()
	if err != nil {
		return fmt.Errorf("pod: record of %s: %w", r.Who(), err)
	}
	temp := filepath.Join(s.dir, disk.TempPrefix+r.HostDev)
	if err = writeSynced(temp, b); err == nil {
		err = os.Rename(temp, s.path(r.HostDev, suffixAdding))
	}
	if err == nil {
		err = s.sync.do()
	}
	if err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("pod: write the record of %s: %w", r.Who(), err)
	}
	return nil
}

// promote marks a record as ready. It need not reach the disk: what a crash of
// the machine takes back is an ADD whose kernel state is gone as well.
func (s *shelf) promote(dev string) error {
	if err := os.Rename(s.path(dev, suffixAdding), s.path(dev, suffixReady)); err != nil {
		return fmt.Errorf("pod: mark a record as ready: %w", err)
	}
	return nil
}

// rest marks a record's addresses as resting since a time. It need not reach the
// disk: what a crash of the machine takes back is a record of an earlier boot,
// which rests as well.
func (s *shelf) rest(dev, suffix string, since time.Time) error {
	from := s.path(dev, suffix)
	err := os.Chtimes(from, since, since)
	if err == nil {
		err = os.Rename(from, s.path(dev, suffixResting))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pod: give back the addresses of %s: %w", dev, err)
	}
	return nil
}

// drop removes a file. It need not reach the disk at once: nothing rests on a
// record whose rest is over.
func (s *shelf) drop(dev, suffix string) error {
	path := s.path(dev, suffix)
	// A read-only file system refuses to remove even what is not there.
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("pod: remove a record: %w", err)
	}
	return nil
}

// probe tells whether a record could be written now.
func (s *shelf) probe() error {
	name := filepath.Join(s.dir, disk.TempPrefix+"probe")
	defer os.Remove(name)
	return writeSynced(name, make([]byte, maxRecord))
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// groupSync makes the names in a folder durable. Callers that come while one
// fsync runs share the next: 32 pods at once cost a few of them, not 32.
type groupSync struct {
	dir string

	mu      sync.Mutex
	running bool
	next    *syncRound
}

type syncRound struct {
	done chan struct{}
	err  error
}

// do returns when every rename made before the call is on the disk.
func (g *groupSync) do() error {
	g.mu.Lock()
	if g.next == nil {
		g.next = &syncRound{done: make(chan struct{})}
	}
	round := g.next
	if !g.running {
		g.running = true
		go g.work()
	}
	g.mu.Unlock()
	<-round.done
	return round.err
}

func (g *groupSync) work() {
	for {
		g.mu.Lock()
		round := g.next
		g.next = nil
		if round == nil {
			g.running = false
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		round.err = disk.SyncDir(g.dir)
		close(round.done)
	}
}
