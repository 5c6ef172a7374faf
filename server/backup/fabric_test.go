package backup

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
)

// fabric is a store with a fabric in it, and the room of one server.
type fabric struct {
	*testing.T
	store *storetest.Memory
	room  *Room
	now   time.Time
}

// newFabric founds one; leases are written as "n1 10.42.1.0/24".
func newFabric(t *testing.T, leases ...string) *fabric {
	t.Helper()
	f := &fabric{T: t, store: storetest.New(), now: time.Unix(1_800_000_000, 0)}
	f.room = New(Config{
		Store: f.store, Folder: Folder{t.TempDir()}, Interval: 12 * time.Hour, Keep: 3, Server: "s1", Version: "test",
		Now: func() time.Time { return f.now },
	})
	f.commit(append(Epoch("e1", 1), store.Write{Key: keyID, Value: []byte("id1")}, store.Write{Key: keyName, Value: []byte("prod")})...)
	f.object(kind.ClusterConfig, kind.DefaultName, kind.ClusterConfigSpec{ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}})
	f.commit(store.Write{Key: store.Identity + "node/n1", Value: []byte(`{"schema":1,"name":"n1"}`)})
	f.commit(store.Write{Key: store.Observed + "node/n1", Value: []byte(`{}`)})
	for _, l := range leases {
		f.lease(l)
	}
	return f
}

func (f *fabric) commit(writes ...store.Write) {
	f.Helper()
	if _, err := f.store.Commit(f.Context(), store.Txn{Then: writes}); err != nil {
		f.Fatal(err)
	}
}

func (f *fabric) object(k, name string, spec any) {
	f.Helper()
	b, err := kind.Encode(k, kind.Metadata{Name: name}, spec)
	if err != nil {
		f.Fatal(err)
	}
	f.commit(store.Write{Key: kind.Key(k, "", name), Value: b})
}

func (f *fabric) lease(words string) {
	f.Helper()
	node, rest, _ := strings.Cut(words, " ")
	spec := kind.LeaseSpec{Node: node}
	for prefix := range strings.FieldsSeq(rest) {
		spec.Prefixes = append(spec.Prefixes, netip.MustParsePrefix(prefix))
	}
	f.object(kind.Lease, node, spec)
}

// leases are who has what: "n1 10.42.0.0/24, n2? 10.42.1.0/24", with ? behind those
// that a backup brought.
func (f *fabric) leases() string {
	f.Helper()
	entries, _, err := f.store.List(f.Context(), kind.Key(kind.Lease, "", ""))
	if err != nil {
		f.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		var spec kind.LeaseSpec
		if _, err := kind.Decode(e.Value, &spec); err != nil {
			f.Fatal(err)
		}
		known := ""
		if f.get(store.Words+spec.Node) != "-" {
			known = "?"
		}
		out = append(out, spec.Node+known+" "+strings.Trim(fmt.Sprint(spec.Prefixes), "[]"))
	}
	return strings.Join(out, ", ")
}

func (f *fabric) save(why string) File {
	f.Helper()
	file, err := f.room.Save(f.Context(), why)
	if err != nil {
		f.Fatal(err)
	}
	return file
}

// what is everything that a backup is about, as text, but for where leases are known
// from.
func (f *fabric) what() string {
	f.Helper()
	var b strings.Builder
	err := f.store.Snapshot(f.Context(), store.Root, skipped, func(entries []store.Entry, _ int64) error {
		for _, e := range entries {
			if !stays(e.Key) && !strings.HasPrefix(e.Key, store.Words) {
				fmt.Fprintf(&b, "%s %s\n", e.Key, e.Value)
			}
		}
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
	return b.String()
}

func (f *fabric) get(key string) string {
	e, err := f.store.Get(context.Background(), key)
	if err != nil {
		return "-"
	}
	return string(e.Value)
}

// dump makes a file of lines, with a right trailer unless the last line is one.
func dump(t testing.TB, h Header, entries ...store.Entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := newWriter(&out, h)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := w.add(e); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func storeFault(before bool, f func(store.Txn) error) storetest.Fault {
	if before {
		return storetest.Fault{Before: f}
	}
	return storetest.Fault{After: f}
}
