package agent

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/proto/intent"
)

// healer says whether it heals.
type healer struct{ paused atomic.Bool }

func (h *healer) Pause(on bool)  { h.paused.Store(on) }
func (h *healer) Untouched() int { return 3 }

func opened(t *testing.T, dir *datadir.Dir) (*breaks, *healer) {
	t.Helper()
	h := &healer{}
	b, err := openBreaks(dir, slog.New(slog.DiscardHandler), h, func() {})
	if err != nil {
		t.Fatal(err)
	}
	return b, h
}

func folder(t *testing.T) *datadir.Dir {
	t.Helper()
	dir, err := datadir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	return dir
}

func TestAPauseOfTheFabricEndsByItself(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		b, h := opened(t, dir)
		asked := intent.Pause{ID: "a", For: 10 * time.Minute, By: "admin ops"}
		b.asked(asked)
		time.Sleep(9 * time.Minute)
		b.asked(asked) // told again, as after a reconnect
		if !h.paused.Load() || len(b.problems()) != 1 {
			t.Error("not paused, or not said")
		}
		time.Sleep(61 * time.Second) // no server says that it is over
		synctest.Wait()
		if h.paused.Load() || len(b.problems()) != 0 {
			t.Error("it did not end")
		}
		b.asked(asked)
		if h.paused.Load() {
			t.Error("what is over began again")
		}
		b.asked(intent.Pause{ID: "b", For: time.Minute})
		if !h.paused.Load() {
			t.Error("the next did not begin")
		}
		b.asked(intent.Pause{})
		if h.paused.Load() {
			t.Error("taken away, and still paused")
		}
	})
}

func TestARestartNeitherEndsNorRenewsAPause(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		asked := intent.Pause{ID: "a", For: 10 * time.Minute}
		b, _ := opened(t, dir)
		b.asked(asked)
		time.Sleep(6 * time.Minute)
		b, h := opened(t, dir)
		b.asked(asked)
		if !h.paused.Load() {
			t.Error("the restart ended it")
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if h.paused.Load() {
			t.Error("the restart renewed it")
		}
	})
}

func TestResumeOnTheNodeEndsBoth(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		b, h := opened(t, dir)
		asked := intent.Pause{ID: "a", For: 10 * time.Minute}
		b.asked(asked)
		b.Pause(time.Hour, "new switch")
		if was, on := b.Resume(); !on || was.Reason != "new switch" || h.paused.Load() {
			t.Error("not resumed", was, on)
		}
		b.asked(asked)
		if h.paused.Load() {
			t.Error("the fabric's began again")
		}
		if _, on := b.Resume(); on {
			t.Error("there was one still")
		}
	})
}

func TestADamagedRecordPausesNothing(t *testing.T) {
	dir := folder(t)
	for _, content := range []string{"{", "[]", `{"schema":99,"node":{"until":"2999-01-01T00:00:00Z"}}`} {
		if err := dir.Write(pauseName, []byte(content)); err != nil {
			t.Fatal(err)
		}
		b, h := opened(t, dir)
		b.asked(intent.Pause{})
		if h.paused.Load() {
			t.Errorf("%s paused the node", content)
		}
	}
}
