package backup

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/store"
)

// Limits of a file that is read: a few times what etcd's quota can hold.
const (
	maxLine  = 8 << 20 // bytes; a value has at most 1.5 MiB, and JSON may quote it
	maxKeys  = 4 << 20
	maxBytes = 4 << 30 // of all lines
)

// Header is the first line: what is in the file, and of which fabric.
type Header struct {
	Weft     string    `json:"weft"`     // "backup"
	Format   int       `json:"format"`   // of the file
	Schema   int       `json:"schema"`   // of the objects
	Fabric   string    `json:"fabric"`   // its name
	ID       string    `json:"id"`       // random, since the fabric was founded
	CA       string    `json:"ca"`       // SHA-256 of the CA's public key, hex
	Epoch    string    `json:"epoch"`    // random
	Ordinal  uint64    `json:"ordinal"`  // of the epoch, from 1 on
	Revision int64     `json:"revision"` // of the store
	Version  string    `json:"version"`  // release that wrote it
	Server   string    `json:"server"`   // that wrote it
	Time     time.Time `json:"time"`
}

// magic is Header.Weft.
const magic = "backup"

// line is one key. One of Text and Bytes is set; most values are JSON, and then
// zcat shows them.
type line struct {
	Key   string  `json:"key"`
	Text  *string `json:"text,omitempty"`
	Bytes []byte  `json:"bytes,omitempty"`
}

// trailer is the last line: what came before it, the header among it.
type trailer struct {
	Keys *int   `json:"keys"`
	Sum  string `json:"sha256"` // hex, of all lines before, with their ends
}

// writer writes a dump.
type writer struct {
	gz   *gzip.Writer
	buf  *bufio.Writer
	sum  hash.Hash
	keys int
}

func newWriter(out io.Writer, h Header) (*writer, error) {
	gz := gzip.NewWriter(out)
	w := &writer{gz: gz, buf: bufio.NewWriterSize(gz, 64<<10), sum: sha256.New()}
	h.Weft, h.Format, h.Schema = magic, schema.Backup.Version(), schema.Store.Version()
	return w, w.put(h, true)
}

func (w *writer) add(e store.Entry) error {
	l := line{Key: e.Key}
	if text := string(e.Value); utf8.ValidString(text) {
		l.Text = &text
	} else {
		l.Bytes = e.Value
	}
	w.keys++
	return w.put(l, true)
}

// close writes the trailer, and answers the sum that names the contents.
func (w *writer) close() (sum string, err error) {
	sum = hex.EncodeToString(w.sum.Sum(nil))
	if err := w.put(trailer{Keys: &w.keys, Sum: sum}, false); err != nil {
		return sum, err
	}
	if err := w.buf.Flush(); err != nil { // a full disk is told once, not by each layer
		return sum, err
	}
	return sum, w.gz.Close()
}

func (w *writer) put(v any, summed bool) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil { // ends the line
		return fmt.Errorf("backup: %w", err)
	}
	if summed {
		w.sum.Write(b.Bytes())
	}
	_, err := w.buf.Write(b.Bytes())
	return err
}

// ErrNewer is what a file of a later release is refused with.
var ErrNewer = errors.New("a later release wrote it")

// decode reads a dump to its end, and calls each for every key, in order. Only
// when it answers without an error was what each was given what was written.
func decode(in io.Reader, head func(Header) error, each func(store.Entry) error) (sum string, keys int, err error) {
	gz, err := gzip.NewReader(in)
	if err != nil {
		return "", 0, fmt.Errorf("it is no backup of weft: %w", bareGzip(err))
	}
	gz.Multistream(false)
	r := newReader(gz)
	if err := r.header(head); err != nil {
		return "", 0, err
	}
	last := ""
	for {
		l, t, err := r.next()
		if err != nil {
			return "", 0, err
		}
		if t != nil {
			return t.Sum, r.keys, r.end(t)
		}
		if l.Key <= last {
			return "", 0, r.bad("key %.200q comes after %.200q; keys are sorted", l.Key, last)
		}
		last = l.Key
		if err := each(store.Entry{Key: l.Key, Value: l.value()}); err != nil {
			return "", 0, r.bad("%.200s: %w", l.Key, err)
		}
	}
}

// reader reads lines of bounded length.
type reader struct {
	in   *bufio.Reader
	sum  hash.Hash
	line int
	keys int
}

func newReader(in io.Reader) *reader {
	return &reader{in: bufio.NewReaderSize(io.LimitReader(in, maxBytes), 64<<10), sum: sha256.New()}
}

func (r *reader) bad(format string, args ...any) error {
	return fmt.Errorf("line %d: %w", r.line, fmt.Errorf(format, args...))
}

func (r *reader) read() ([]byte, error) {
	r.line++
	var whole []byte
	for {
		part, err := r.in.ReadSlice('\n')
		whole = append(whole, part...)
		switch {
		case len(whole) > maxLine:
			return nil, r.bad("it is longer than %d bytes", maxLine)
		case err == nil:
			return whole, nil
		case errors.Is(err, bufio.ErrBufferFull):
		default:
			return nil, r.bad("the file ends too soon or is damaged: %w", bareGzip(err))
		}
	}
}

func (r *reader) header(head func(Header) error) error {
	b, err := r.read()
	if err != nil {
		return err
	}
	var h Header
	if err := json.Unmarshal(b, &h); err != nil || h.Weft != magic {
		return r.bad("it is no header of a backup of weft")
	}
	if h.Format > schema.Backup.Version() || h.Schema > schema.Store.Version() {
		return fmt.Errorf("%w: release %.40s, with format %d and schema %d; this one reads up to %d and %d; restore it with that release",
			ErrNewer, h.Version, h.Format, h.Schema, schema.Backup.Version(), schema.Store.Version())
	}
	if h.Format < 1 || h.Epoch == "" || h.Revision < 1 {
		return r.bad("the header has format %d, epoch %.40q, revision %d: it is damaged", h.Format, h.Epoch, h.Revision)
	}
	r.sum.Write(b)
	return head(h)
}

// next reads a key's line, or the trailer.
func (r *reader) next() (line, *trailer, error) {
	b, err := r.read()
	if err != nil {
		return line{}, nil, err
	}
	var both struct {
		line
		trailer
	}
	if err := json.Unmarshal(b, &both); err != nil {
		return line{}, nil, r.bad("it is no JSON: %w", err)
	}
	if both.Keys != nil {
		return line{}, &both.trailer, nil
	}
	if !strings.HasPrefix(both.Key, store.Root) || both.Text != nil && both.Bytes != nil {
		return line{}, nil, r.bad("it is neither a key below %s nor the trailer", store.Root)
	}
	if r.keys++; r.keys > maxKeys {
		return line{}, nil, r.bad("more than %d keys", maxKeys)
	}
	r.sum.Write(b)
	return both.line, nil, nil
}

// end checks the trailer, and that nothing follows it. Reading on also checks
// gzip's own checksum.
func (r *reader) end(t *trailer) error {
	if sum := hex.EncodeToString(r.sum.Sum(nil)); sum != t.Sum || *t.Keys != r.keys {
		return r.bad("the trailer says %d keys with SHA-256 %.64s, and there are %d with %s: the file was changed", *t.Keys, t.Sum, r.keys, sum)
	}
	switch _, err := r.in.ReadByte(); {
	case err == nil:
		return r.bad("something follows the trailer")
	case !errors.Is(err, io.EOF):
		return r.bad("the file's end is damaged: %w", bareGzip(err))
	}
	return nil
}

// value is never nil, which would mean deleted.
func (l line) value() []byte {
	if l.Text != nil {
		return []byte(*l.Text)
	}
	if l.Bytes == nil {
		return []byte{}
	}
	return l.Bytes
}

// bareGzip says in words what gzip's errors mean.
func bareGzip(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
