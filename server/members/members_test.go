package members

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
)

var clock = time.Unix(1000, 0)

// entries reads records from lines: "s1 live", "s2 stopped", "s3 lost", "s4 gone".
func entries(lines string) []store.Entry {
	var out []store.Entry
	put := func(key string, record any) {
		b, _ := json.Marshal(record)
		out = append(out, store.Entry{Key: key, Value: b, Revision: int64(len(out) + 1), Created: int64(len(out) + 1)})
	}
	for _, l := range strings.Split(lines, ",") {
		name, state, _ := strings.Cut(strings.TrimSpace(l), " ")
		s := Server{Schema: 1, Name: name, Address: name + ":7443", StartedUnix: 100}
		t := s.trace()
		switch state {
		case "live":
			put(liveKey(name), s)
		case "stopped":
			t.StoppedUnix = 200
		case "lost":
			t.LostUnix = 300
		case "joining":
			t.JoiningUnix = 900
		case "joined-long-ago":
			t.JoiningUnix = 600
		case "low":
			t.LowDisk = true
			put(liveKey(name), s)
		case "lowbackups":
			t.LowBackups = true
			put(liveKey(name), s)
		case "ended":
			t.LowDisk, t.Why, t.LostUnix = true, "no space left on device", 300
		case "lostlow":
			t.LowDisk = true
		}
		put(knownKey(name), t)
	}
	return out
}

// roster reads members from words: "s1 s2? s3*": a learner, the raft leader.
func rosterOf(words string) []store.Member {
	var out []store.Member
	for i, w := range strings.Fields(words) {
		name := strings.TrimRight(w, "?*")
		out = append(out, store.Member{ID: uint64(i + 1), Name: name, Learner: strings.Contains(w, "?"), Leader: strings.Contains(w, "*"), PeerURLs: []string{"https://" + name + ":7445"}})
	}
	return out
}

func text(all []Status) string {
	var lines []string
	for _, s := range all {
		line := s.Name + " " + string(s.State)
		if s.Leader {
			line += " leader"
		}
		if !s.Since.IsZero() {
			line += fmt.Sprint(" ", s.Since.Unix())
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, ", ")
}

func TestList(t *testing.T) {
	for _, c := range []struct{ records, leader, members, want string }{
		{"s1 live", "s1", "", "s1 Ready leader 100"},
		{"s2 live, s1 live", "s2", "s1 s2", "s1 Ready 100, s2 Ready leader 100"},
		{"s1 live, s2 live", "s1", "s1 s2?", "s1 Ready leader 100, s2 Learner 100"},
		{"s1 live, s2 stopped, s3 lost, s4 gone", "s1", "", "s1 Ready leader 100, s2 Stopped 200, s3 Lost 300, s4 Lost"},
		{"s1 live", "s1", "s1 s9", "s1 Ready leader 100, s9 Lost"}, // a member that never registered
		{"s1 live", "", "", "s1 Ready 100"},
		{"s1 live", "s1", "s1 s2?", "s1 Ready leader 100, s2 Joining"},                     // it has a name, and has not registered
		{"s1 live, s2 joining", "s1", "s1 s2", "s1 Ready leader 100, s2 Joining 900"},      // it has its vote, and is not ready
		{"s1 live, s2 joined-long-ago", "s1", "s1 s2", "s1 Ready leader 100, s2 Lost 600"}, // it was let in, and never came
	} {
		if diff := cmp.Diff(c.want, text(list(entries(c.records), c.leader, rosterOf(c.members), clock))); diff != "" {
			t.Errorf("%s, members %s:\n%s", c.records, c.members, diff)
		}
	}
}

func TestRemovable(t *testing.T) {
	for _, c := range []struct{ name, records, members, want string }{
		{"s3", "s1 live, s2 live, s3 live", "s1 s2 s3", ""},
		{"s3", "s1 live, s2 live, s3 lost", "s1 s2 s3", ""},
		{"s2", "s1 live, s2 live", "s1 s2", ""},
		{"s2", "s1 live, s2 lost", "s1 s2", "1 of 2 servers answer, and taking one out needs 2: start s2 again, and remove it while it runs"},
		{"s3", "s1 live, s2 live, s3 live", "s1 s2 s3?", ""}, // a learner counts for nothing
		{"s3", "s1 live, s2 lost, s3 live", "s1 s2 s3", "without s3 2 servers would be left, of which 1 would answer, and 2 are needed"},
		{"s1", "s1 live, s2 lost", "s1 s2", "of which 0 would answer, and 1 are needed"},
		{"s1", "s1 live", "s1", "is the only one that is left"},
		{"s9", "s1 live, s2 live", "s1 s2", `there is no server "s9"; there are: s1, s2`},
		{"s2", "s1 live, s2 live", "", "server s2 runs: stop it first"}, // an etcd elsewhere
		{"s2", "s1 live, s2 stopped", "", ""},
	} {
		err := removable(c.name, list(entries(c.records), "", rosterOf(c.members), clock), rosterOf(c.members))
		if c.want == "" && err != nil || c.want != "" && !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s of %s, members %s\ngot  %v\nwant %s", c.name, c.records, c.members, err, c.want)
		}
	}
}

func TestMaintenance(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name            string
		s               store.MemberState
		wasteful, roomy bool
	}{
		{"small", store.MemberState{Size: 90 * mib, InUse: 1 * mib, Quota: 2048 * mib}, false, true},
		{"large and used", store.MemberState{Size: 900 * mib, InUse: 800 * mib, Quota: 2048 * mib}, false, true},
		{"large and free", store.MemberState{Size: 900 * mib, InUse: 400 * mib, Quota: 2048 * mib}, true, true},
		{"full", store.MemberState{Size: 2000 * mib, InUse: 1990 * mib, Quota: 2048 * mib}, false, false},
		{"of an etcd that tells no quota", store.MemberState{Size: 2000 * mib, InUse: 1990 * mib}, false, true},
	} {
		if w, r := wasteful(c.s), roomy(c.s); w != c.wasteful || r != c.roomy {
			t.Errorf("%s: wasteful %v, roomy %v", c.name, w, r)
		}
	}
}

func TestApart(t *testing.T) {
	for ahead, want := range map[time.Duration]string{3 * time.Hour: "3h0m0s ahead of", -2 * time.Minute: "2m0s behind"} {
		if got := apart(ahead); got != want {
			t.Errorf("%v: %s", ahead, got)
		}
	}
}

func TestOwn(t *testing.T) {
	dir := t.TempDir()
	if o, err := LoadOwn(dir); err != nil || o.Name != "" {
		t.Error(o, err)
	}
	want := Own{Schema: 1, Name: "s1", Mode: Clustered, Joined: true, Servers: []string{"10.0.0.2:7443"}, Peers: []string{"10.0.0.2:7445"}}
	if err := want.Save(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := LoadOwn(dir); err != nil || !cmp.Equal(got, want) {
		t.Error(got, err)
	}
	for text, says := range map[string]string{
		`{"schema":1,"name":"s1","mode":"clus`:      "cannot be read",
		`{"schema":9,"name":"s1","mode":"cluster"}`: "run the newer weft-server",
		`{"schema":1,"name":"","mode":"cluster"}`:   "is incomplete",
		`{"schema":1,"name":"s1","mode":"x"}`:       "is incomplete",
	} {
		if _, err := decodeOwn([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzDecodeOwn(f *testing.F) {
	f.Add([]byte(`{"schema":1,"name":"s1","mode":"cluster"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, err := decodeOwn(b); err == nil && o.Name == "" {
			t.Errorf("%q is taken without a name", b)
		}
	})
}

func FuzzRecords(f *testing.F) {
	f.Add("/weft/v1/servers/s1", []byte(`{"schema":1,"name":"s1"}`))
	f.Add("/weft/v1/servers/known/s1", []byte(`{"schema":1,"name":"s1"}`))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		_ = list([]store.Entry{{Key: key, Value: value, Revision: 1}}, "s1", nil, clock)
	})
}

// What a server said of its disk stands in status while it runs and when it is gone.
func TestDiskProblems(t *testing.T) {
	for records, want := range map[string]string{
		"s1 live, s2 live":       "",
		"s1 live, s2 low":        "the disk of server s2 at s2:7443 is nearly full: less than 128 MiB are free below its --data-dir",
		"s1 live, s2 lowbackups": "the disk of server s2 at s2:7443 is nearly full: less than 128 MiB are free below its --backup-dir",
		"s1 live, s2 ended":      "server s2 at s2:7443 ended by itself: no space left on device",
		"s1 live, s2 lostlow":    "server s2 at s2:7443 is lost: it neither answers nor stopped in good order; its disk was nearly full",
	} {
		var got []string
		for _, p := range problemsOf(list(entries(records), "s1", nil, clock)) {
			got = append(got, p.Cause)
		}
		if diff := cmp.Diff(want, strings.Join(got, "\n")); diff != "" {
			t.Errorf("%s:\n%s", records, diff)
		}
	}
}

// The word of a disk that is nearly full does not come and go.
func TestLowDiskIsSteady(t *testing.T) {
	r := New(Config{Store: storetest.New()})
	for i, c := range []struct {
		free uint64
		news bool
	}{{1 << 30, false}, {lowDisk, false}, {lowDisk - 1, true}, {lowDisk, false}, {roomAgain - 1, false}, {roomAgain, true}, {lowDisk, false}} {
		if got := r.setLow(&r.low.data, c.free); got != c.news {
			t.Errorf("%d: %d bytes free: news %v", i, c.free, got)
		}
	}
	if free, err := FreeBytes(t.TempDir()); err != nil || free == 0 {
		t.Error(free, err)
	}
	dir := t.TempDir()
	if free, err := FreeApart(dir, t.TempDir()); err != nil || free != math.MaxUint64 {
		t.Error("two folders of one disk:", free, err)
	}
	if free, err := FreeApart(dir, "/proc"); err != nil || free == math.MaxUint64 {
		t.Error("another disk:", free, err)
	}
	if _, err := FreeApart(dir, dir+"/none"); err == nil {
		t.Error("no such folder is apart")
	}
	if _, err := FreeBytes(t.TempDir() + "/none"); err == nil {
		t.Error("no such folder has room")
	}
}
