package backup

import (
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/disk"
	"github.com/weft-net/weft/server/store"
)

// Why a file was made: the first word of its name.
const (
	Scheduled = "auto"
	ByHand    = "manual"
	Aside     = "before-restore" // what a restore replaced
	Given     = "given"          // sent by an operator, to be restored
)

// suffix of all files; temporary ones have another.
const suffix = ".weft.gz"

var fileName = regexp.MustCompile(`^(auto|manual|before-restore|given)-([0-9]{8}T[0-9]{6}Z)-r([0-9]+)(?:-[0-9a-f]{8})?\.weft\.gz$`)

// File is one backup in a folder.
type File struct {
	Name   string
	Why    string
	Size   int64 // bytes
	Header Header
	Err    error // why its header cannot be read
}

// Folder is where a server keeps its backups. Files are 0600.
type Folder struct {
	Path string
}

// Save writes all of a store into a new file. What is there already is never
// touched; on an error nothing is left.
func (d Folder) Save(ctx context.Context, s Store, why string, h Header) (f File, sum string, err error) {
	if err := os.MkdirAll(d.Path, 0o700); err != nil {
		return File{}, "", fmt.Errorf("backup: %w", err)
	}
	out, err := d.temporary()
	if err != nil {
		return File{}, "", err
	}
	defer func() { err = errors.Join(err, d.drop(out)) }()
	if h, sum, err = write(ctx, out, s, h); err != nil {
		return File{}, "", fmt.Errorf("backup: save into %s: %w", d.Path, err)
	}
	f = File{Name: name(why, h, ""), Why: why, Header: h}
	f.Size, err = d.keep(out, f.Name)
	return f, sum, err
}

// errMoved is why a store cannot be saved that is neither what it was nor what it
// will be.
var errMoved = errors.New("a backup is being restored, or was meanwhile")

// write dumps a store. The header's facts are of the same revision as the rest, or
// it is done again.
func write(ctx context.Context, out io.Writer, s Store, h Header) (Header, string, error) {
	fabric, err := ReadFabric(ctx, s)
	if err != nil {
		return h, "", err
	}
	h.Fabric, h.ID, h.CA, h.Epoch, h.Ordinal = fabric.Name, fabric.ID, fabric.CA, fabric.Epoch, fabric.Ordinal
	var w *writer
	epoch := ""
	err = s.Snapshot(ctx, store.Root, skipped, func(entries []store.Entry, revision int64) error {
		if w == nil {
			h.Revision = revision
			if w, err = newWriter(out, h); err != nil {
				return err
			}
		}
		for _, e := range entries {
			if e.Key == keyEpoch {
				epoch = string(e.Value)
			}
			if err := w.add(e); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return h, "", err
	}
	if epoch == "" || epoch != h.Epoch {
		return h, "", fmt.Errorf("%w (epoch %q, then %q); try again", errMoved, h.Epoch, epoch)
	}
	// As long as the fence names the epoch nothing of a restore was written.
	switch e, err := s.Get(ctx, store.Fence); {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return h, "", err
	case err == nil && string(e.Value) != epoch:
		return h, "", fmt.Errorf("%w; try again", errMoved)
	}
	sum, err := w.close()
	return h, sum, err
}

// Take copies a file that somebody sends, at most limit bytes, and reads it to
// its end before it gets its name.
func (d Folder) Take(in io.Reader, limit int64) (f File, sum string, err error) {
	if err := os.MkdirAll(d.Path, 0o700); err != nil {
		return File{}, "", fmt.Errorf("backup: %w", err)
	}
	out, err := d.temporary()
	if err != nil {
		return File{}, "", err
	}
	defer func() { err = errors.Join(err, d.drop(out)) }()
	n, err := io.Copy(out, io.LimitReader(in, limit+1))
	if err != nil {
		return File{}, "", fmt.Errorf("backup: keep what was sent in %s: %w", d.Path, err)
	}
	if n > limit {
		return File{}, "", fmt.Errorf("backup: more than %d bytes were sent; copy the file into %s and name it", limit, d.Path)
	}
	if _, err := out.Seek(0, io.SeekStart); err != nil {
		return File{}, "", fmt.Errorf("backup: %w", err)
	}
	var h Header
	sum, _, err = decode(out, func(read Header) error { h = read; return nil }, check)
	if err != nil {
		return File{}, "", fmt.Errorf("backup: %w", err)
	}
	f = File{Name: name(Given, h, sum[:8]), Why: Given, Header: h}
	f.Size, err = d.keep(out, f.Name)
	return f, sum, err
}

func name(why string, h Header, tag string) string {
	if tag != "" {
		tag = "-" + tag
	}
	return fmt.Sprintf("%s-%s-r%d%s%s", why, h.Time.UTC().Format("20060102T150405Z"), h.Revision, tag, suffix)
}

func (d Folder) temporary() (*os.File, error) {
	f, err := os.CreateTemp(d.Path, disk.TempPrefix+"backup-*") // 0600
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	return f, nil
}

// keep gives a file its name once it is on the disk.
func (d Folder) keep(f *os.File, name string) (size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	if err := f.Sync(); err != nil {
		return 0, fmt.Errorf("backup: %s: %w", name, err)
	}
	if err := os.Rename(f.Name(), filepath.Join(d.Path, name)); err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	return info.Size(), disk.SyncDir(d.Path)
}

// drop closes a temporary file, and removes it if it was not kept.
func (d Folder) drop(f *os.File) error {
	err := f.Close()
	if rm := os.Remove(f.Name()); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	return err
}

// List answers all backups, the youngest first, by what their headers say.
func (d Folder) List() ([]File, error) {
	entries, err := os.ReadDir(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	var out []File
	for _, e := range entries {
		m := fileName.FindStringSubmatch(e.Name())
		info, err := e.Info()
		if m == nil || err != nil || !info.Mode().IsRegular() {
			continue
		}
		f := File{Name: e.Name(), Why: m[1], Size: info.Size()}
		f.Header, f.Err = readHeader(filepath.Join(d.Path, f.Name))
		if f.Err != nil {
			f.Header.Time, _ = time.Parse("20060102T150405Z", m[2])
		}
		out = append(out, f)
	}
	slices.SortStableFunc(out, func(a, b File) int {
		return cmp.Or(b.Header.Time.Compare(a.Header.Time), cmp.Compare(b.Header.Revision, a.Header.Revision))
	})
	return out, nil
}

// Latest is a name for the youngest backup that was made on schedule or by hand.
const Latest = "latest"

// Prune removes all but the youngest of those made for a reason.
func (d Folder) Prune(why string, keep int) error {
	files, err := d.List()
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range files {
		if f.Why != why {
			continue
		}
		if keep--; keep < 0 {
			errs = append(errs, os.Remove(filepath.Join(d.Path, f.Name)))
		}
	}
	return errors.Join(errs...)
}

// Open opens a backup of the folder by its name.
func (d Folder) Open(name string) (*os.File, error) {
	if !fileName.MatchString(name) {
		return nil, fmt.Errorf("backup: %.100q is no backup of this server; see: weft backup ls", name)
	}
	f, err := os.Open(filepath.Join(d.Path, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, absent(fmt.Sprintf("backup: there is no %s in %s; see: weft backup ls", name, d.Path))
	}
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	return f, nil
}

// readHeader reads the first line of a file.
func readHeader(path string) (h Header, err error) {
	f, err := os.Open(path)
	if err != nil {
		return h, err
	}
	defer f.Close()
	gz, err := gzip.NewReader(f)
	if err != nil {
		return h, bareGzip(err)
	}
	r := newReader(gz)
	err = r.header(func(read Header) error { h = read; return nil })
	return h, err
}

// sumOf reads a file to its end and answers what names its contents.
func (d Folder) sumOf(name string) (string, error) {
	f, err := d.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum, _, err := decode(f, func(Header) error { return nil }, func(store.Entry) error { return nil })
	if err != nil {
		return "", fmt.Errorf("backup: %s: %w", name, err)
	}
	return sum, nil
}
