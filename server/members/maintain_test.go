package members

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
)

// files is an etcd of several members elsewhere that says what is done to it.
type files struct {
	members map[string]*store.MemberState
	after   int64 // bytes of a member that was defragmented
	full    bool
	fails   string // what fails
	log     []string
}

func (f *files) do(what string) error {
	f.log = append(f.log, what)
	if f.fails != "" && strings.HasPrefix(what, f.fails) {
		return errors.New("it fails")
	}
	return nil
}

func (f *files) Endpoints() []string { return []string{"e1", "e2", "e3"} }
func (f *files) Inspect(_ context.Context, e string) (store.MemberState, error) {
	return *f.members[e], nil
}

func (f *files) Defragment(_ context.Context, e string) error {
	f.members[e].Size = f.after
	return f.do("defragment " + e)
}
func (f *files) Full(context.Context) (bool, error)         { return f.full, nil }
func (f *files) Disarm(context.Context) error               { f.full = false; return f.do("disarm") }
func (f *files) CompactAll(context.Context) error           { return f.do("compact all") }
func (f *files) Compact(_ context.Context, rev int64) error { return f.do(fmt.Sprint("compact ", rev)) }
func (f *files) Revision(context.Context) (int64, error)    { return 42, nil }

// TestMaintain: one member after the other; what is full is mended, or told.
func TestMaintain(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name    string
		size    int64 // MiB of each member, half a MiB of it in use
		after   int64
		full    bool
		fails   string
		log     string
		problem string
	}{
		{"nothing to do", 50, 1, false, "", "", ""},
		{"free space", 200, 1, false, "", "defragment e1, defragment e2, defragment e3", ""},
		{"full of history", 2048, 1, true, "", "compact all, defragment e1, defragment e2, defragment e3, disarm", ""},
		{"full of data", 2048, 2040, true, "", "compact all, defragment e1, defragment e2, defragment e3", "e1 still holds 2040 MiB of 2048 MiB"},
		{"full, a member does not answer", 2048, 1, true, "defragment e2", "compact all, defragment e1, defragment e2, defragment e3", "it fails"},
		{"full, and not to be compacted", 2048, 1, true, "compact", "compact all", "its history cannot be compacted"},
	} {
		f := &files{members: map[string]*store.MemberState{}, after: c.after * mib, full: c.full, fails: c.fails}
		for _, e := range f.Endpoints() {
			f.members[e] = &store.MemberState{Size: c.size * mib, InUse: mib / 2, Quota: 2048 * mib}
		}
		r := New(Config{Server: Server{Name: "s1"}, Store: storetest.New(), Mode: Elsewhere, Files: f, DialTLS: &tls.Config{MinVersion: tls.VersionTLS13}})
		_ = r.look(t.Context())
		if got := strings.Join(f.log, ", "); got != c.log {
			t.Errorf("%s\ngot  %s\nwant %s", c.name, got, c.log)
		}
		ps := r.Problems()
		if c.problem == "" && len(ps) > 0 || c.problem != "" && (len(ps) != 1 || !strings.Contains(ps[0].Cause, c.problem) || time.Since(ps[0].Since) > time.Minute) {
			t.Errorf("%s: problems %v, want %q", c.name, ps, c.problem)
		}
	}
}
