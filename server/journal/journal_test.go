package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
)

// running is a journal that runs until the test ends, in virtual time.
func running(t *testing.T) (*Journal, *storetest.Memory) {
	t.Helper()
	m := storetest.New()
	j := New(Config{Store: m, Server: "s1"})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- j.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return j, m
}

func wait(d time.Duration) { time.Sleep(d); synctest.Wait() }

// lines are events as an operator would read them.
func lines(t *testing.T, j *Journal, f Filter) string {
	t.Helper()
	list, _, err := j.Events(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, h := range list {
		fmt.Fprintf(&b, "%s %s %s x%d %s (%s)\n", h.Kind, h.Object, h.Reason, h.Count, h.Message, h.Actor)
	}
	return b.String()
}

func TestAnEventIsStoredWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, m := running(t)
		j.Note(Event{Object: "Node/n1", Reason: "NodeJoined", Message: "with token abc", Actor: "node n1"})
		j.Note(Event{Kind: Warning, Object: "Node/n2", Reason: "NodeAway"})
		wait(time.Second)
		want := "Normal Node/n1 NodeJoined x1 with token abc (node n1)\nWarning Node/n2 NodeAway x1  ()\n"
		if d := cmp.Diff(want, lines(t, j, Filter{})); d != "" {
			t.Error(d)
		}
		if got := m.Revision(); got != 2 {
			t.Errorf("both events took %d writes, not one", got-1)
		}
	})
}

func TestIdleWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, m := running(t)
		j.Note(Event{Object: "Node/n1", Reason: "NodeJoined"})
		wait(time.Second)
		before := m.Revision()
		wait(24 * time.Hour)
		if got := m.Revision(); got != before {
			t.Errorf("%d writes in an idle day", got-before)
		}
		if n := j.told.len(); n != 0 {
			t.Errorf("%d windows stay open", n)
		}
	})
}

func TestAlikeOnesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, m := running(t)
		for range 600 { // ten minutes
			j.Note(Event{Object: "Node/n1", Reason: "NodeBack"})
			wait(time.Second)
		}
		wait(2 * window)
		list, _, err := j.Events(t.Context(), Filter{})
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, h := range list {
			total += h.Count
		}
		if total != 600 || len(list) > 12 || m.Revision() > 13 {
			t.Errorf("600 events alike: %d counted on %d lines in %d writes", total, len(list), m.Revision()-1)
		}
	})
}

// 5,000 nodes go at once, and come again.
func TestAStormCostsAWriteASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, m := running(t)
		for i := range 5000 {
			j.Note(Event{Object: fmt.Sprintf("Node/n%d", i), Reason: "NodeAway"})
		}
		wait(10 * time.Second)
		if got := m.Revision() - 1; got > 10 {
			t.Errorf("%d writes in 10 s", got)
		}
		if j.Lost() != 5000-maxEvents {
			t.Errorf("%d lost", j.Lost())
		}
		list, _, _ := j.Events(t.Context(), Filter{})
		if len(list) != maxEvents+1 {
			t.Fatalf("%d stored, want %d and a word on those lost", len(list), maxEvents)
		}
		if got := lines(t, j, Filter{Object: "server"}); got != "Warning Server/s1 EventsLost x1 904 events were dropped: more happened than is written ()\n" {
			t.Error(got)
		}
	})
}

func TestAStoreThatWasAwayGetsEverythingOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, m := running(t)
		m.Down()
		j.Note(Event{Object: "Server/s1", Reason: "First"})
		wait(5 * time.Minute)
		j.Note(Event{Object: "Server/s1", Reason: "Second"})
		m.Inject(storetest.Fault{After: func(store.Txn) error { return errors.New("the answer was lost") }})
		wait(time.Minute)
		m.Inject(storetest.Fault{})
		wait(2 * time.Minute)
		if d := cmp.Diff("Normal Server/s1 First x1  ()\nNormal Server/s1 Second x1  ()\n", lines(t, j, Filter{})); d != "" {
			t.Error(d)
		}
	})
}

func TestFiltersOfEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, _ := running(t)
		for i := range 30 {
			j.Note(Event{Object: fmt.Sprintf("Node/n%d", i%3), Reason: fmt.Sprintf("R%d", i), Actor: "admin ops"})
			wait(10 * time.Minute)
		}
		for _, c := range []struct {
			filter Filter
			want   int
		}{
			{Filter{}, 30},
			{Filter{Since: time.Now().Add(-time.Hour)}, 6},
			{Filter{Since: time.Now().Add(-time.Hour), Object: "node/N1"}, 2},
			{Filter{Object: "node"}, 30},
			{Filter{Object: "node/n"}, 0},
			{Filter{User: "ops"}, 30},
			{Filter{User: "admin ops"}, 30},
			{Filter{User: "other"}, 0},
			{Filter{Limit: 7}, 7},
			{Filter{Since: time.Now().Add(time.Hour)}, 0},
			{Filter{Since: time.Unix(-5, 0)}, 30},
		} {
			list, _, err := j.Events(t.Context(), c.filter)
			if err != nil || len(list) != c.want {
				t.Errorf("%+v: %d events (%v), want %d", c.filter, len(list), err, c.want)
			}
		}
	})
}

func TestWatchTellsWhatComesAfterAList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, _ := running(t)
		j.Note(Event{Object: "Node/n1", Reason: "Before"})
		wait(time.Second)
		_, revision, err := j.Events(t.Context(), Filter{Since: time.Now().Add(-time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var got []string
		go func() {
			_ = j.WatchEvents(ctx, revision, Filter{Object: "Node/n1"}, func(list []Happening, _ int64) error {
				for _, h := range list {
					got = append(got, h.Reason)
				}
				return nil
			})
		}()
		j.Note(Event{Object: "Node/n1", Reason: "After"})
		j.Note(Event{Object: "Node/n2", Reason: "Other"})
		wait(2 * time.Second)
		cancel()
		synctest.Wait()
		if d := cmp.Diff([]string{"After"}, got); d != "" {
			t.Error(d)
		}
	})
}

func TestPruneKeepsWhatIsYoungAndNotTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, m := running(t)
		j.Note(Event{Object: "Node/old", Reason: "R"})
		wait(KeepEvents + time.Hour)
		j.Note(Event{Object: "Node/young", Reason: "R"})
		wait(2 * time.Second)
		if err := j.Prune(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff("Normal Node/young R x1  ()\n", lines(t, j, Filter{})); d != "" {
			t.Error(d)
		}
		before := m.Revision()
		if err := j.Prune(t.Context(), time.Now()); err != nil || m.Revision() != before {
			t.Errorf("pruning nothing wrote %d times (%v)", m.Revision()-before, err)
		}
		for i := range MostEvents + 3000 {
			j.Note(Event{Object: fmt.Sprintf("Node/n%d", i), Reason: "R"})
			if i%1000 == 999 {
				wait(2 * time.Second)
			}
		}
		wait(2 * time.Minute)
		if err := j.Prune(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		list, _, _ := read(t.Context(), j.events, time.Time{}, func(Happening) bool { return true }, 1<<20)
		if len(list) > MostEvents || len(list) < MostEvents-maxItems {
			t.Errorf("%d events left of %d", len(list), MostEvents)
		}
	})
}

func TestWhatCannotBeReadIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, m := running(t)
		for key, value := range map[string]string{"0000000001.0-x": "{", "nonsense": "{}", "9999999999.0-y": `{"schema":99,"items":[{}]}`} {
			if _, err := m.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: Events + key, Value: []byte(value)}}}); err != nil {
				t.Fatal(err)
			}
		}
		j.Note(Event{Object: "Node/n1", Reason: "R"})
		wait(time.Second)
		if d := cmp.Diff("Normal Node/n1 R x1  ()\n", lines(t, j, Filter{})); d != "" {
			t.Error(d)
		}
		if err := j.Prune(t.Context(), time.Now()); err != nil {
			t.Error(err)
		}
	})
}

func FuzzPick(f *testing.F) {
	f.Add([]byte(`{"schema":1,"items":[{"kind":"Normal","object":"Node/n1","reason":"R","count":1}]}`))
	f.Add([]byte(`{"schema":1,"items":[null]}`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		all := func(Happening) bool { return true }
		_ = pick(store.Entry{Value: b}, all)
		_ = pick(store.Entry{Value: b}, func(Act) bool { return true })
	})
}
