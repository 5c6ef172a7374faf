package backup

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/server/store"
	"pgregory.net/rapid"
)

var header = Header{Fabric: "prod", ID: "id1", Epoch: "e1", Ordinal: 1, Revision: 7, Version: "test", Time: time.Unix(1_800_000_000, 0).UTC()}

func list(b []byte) (entries []store.Entry, err error) {
	_, _, err = decode(bytes.NewReader(b), func(Header) error { return nil }, func(e store.Entry) error {
		entries = append(entries, e)
		return nil
	})
	return entries, err
}

func TestDumpProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.MapOf(rapid.StringMatching(`[a-z<>&"\\é]{1,20}`), rapid.SliceOf(rapid.Byte())).Draw(t, "values")
		var want []store.Entry
		for key, v := range values {
			if v == nil {
				v = []byte{}
			}
			want = append(want, store.Entry{Key: store.Root + key, Value: v})
		}
		sortEntries(want)
		var out bytes.Buffer
		w, err := newWriter(&out, header)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range want {
			if err := w.add(e); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.close(); err != nil {
			t.Fatal(err)
		}
		got, err := list(out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		// Wherever it is cut or one byte of it changes, it is refused.
		i := rapid.IntRange(0, out.Len()-1).Draw(t, "at")
		if _, err := list(out.Bytes()[:i]); err == nil {
			t.Fatalf("cut at %d of %d it was taken", i, out.Len())
		}
		hurt := bytes.Clone(out.Bytes())
		hurt[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if again, err := list(hurt); err == nil && cmp.Diff(want, again) != "" {
			t.Fatalf("with byte %d changed it was taken for something else", i)
		}
	})
}

func sortEntries(es []store.Entry) {
	for i := range es {
		for j := i; j > 0 && es[j].Key < es[j-1].Key; j-- {
			es[j], es[j-1] = es[j-1], es[j]
		}
	}
}

// zip makes a file of its lines as they are.
func zip(text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.Bytes()
}

func TestDumpRefused(t *testing.T) {
	const head = `{"weft":"backup","format":1,"schema":1,"epoch":"e1","revision":7}` + "\n"
	for _, c := range []struct{ file, want string }{
		{"", "it is no backup of weft"},
		{"PK\x03\x04", "it is no backup of weft"},
		{string(zip("")), "line 1: the file ends too soon"},
		{string(zip("hello\n")), "line 1: it is no header of a backup of weft"},
		{string(zip(`{"weft":"backup","format":2,"schema":1,"epoch":"e","revision":1,"version":"9.0"}` + "\n")), "a later release wrote it: release 9.0, with format 2 and schema 1; this one reads up to 1 and 1"},
		{string(zip(`{"weft":"backup","format":1,"schema":9,"epoch":"e","revision":1}` + "\n")), "a later release wrote it"},
		{string(zip(`{"weft":"backup","format":1,"schema":1}` + "\n")), "the header has format 1, epoch \"\", revision 0"},
		{string(zip(head)), "line 2: the file ends too soon"},
		{string(zip(head + "{}\n")), "line 2: it is neither a key below /weft/v1/ nor the trailer"},
		{string(zip(head + "x\n")), "line 2: it is no JSON"},
		{string(zip(head + `{"key":"/other/a","text":""}` + "\n")), "line 2: it is neither a key below"},
		{string(zip(head + `{"key":"/weft/v1/b","text":""}` + "\n" + `{"key":"/weft/v1/a","text":""}` + "\n")), `line 3: key "/weft/v1/a" comes after "/weft/v1/b"`},
		{string(zip(head + `{"keys":1,"sha256":"00"}` + "\n")), "line 2: the trailer says 1 keys with SHA-256 00, and there are 0"},
		{string(dump(t, header)) + "x", ""}, // what follows gzip's end is not the file's
		{string(zip(head + strings.Repeat(" ", maxLine+1))), "line 2: it is longer than 8388608 bytes"},
	} {
		_, err := list([]byte(c.file))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%.80q\ngot  %v\nwant %s", c.file, err, c.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(dump(f, header, store.Entry{Key: store.Root + "a", Value: []byte(`{"a":1}`)}, store.Entry{Key: store.Root + "b", Value: []byte{0xff}}))
	f.Add(zip(`{"weft":"backup","format":1,"schema":1,"epoch":"e1","revision":7}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64<<10 {
			return
		}
		entries, err := list(b)
		if err != nil {
			return
		}
		again, err := list(dump(t, header, entries...))
		if err != nil || cmp.Diff(entries, again) != "" {
			t.Fatalf("taken, written and read again: %v", err)
		}
		_, _ = read(bytes.NewReader(b))
	})
}
