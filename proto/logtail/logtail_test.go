package logtail

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheLastLinesAreKept(t *testing.T) {
	var out bytes.Buffer
	tail := New(&out, slog.LevelInfo)
	log := tail.Logger()
	log.Debug("hidden")
	for i := range MaxLines + 7 {
		log.Info(fmt.Sprintf("line %d", i))
	}
	lines := tail.Lines()
	if len(lines) != MaxLines || !strings.Contains(lines[0], `"line 7"`) || !strings.Contains(lines[MaxLines-1], fmt.Sprintf(`"line %d"`, MaxLines+6)) {
		t.Errorf("%d lines from %q to %q", len(lines), lines[0], lines[len(lines)-1])
	}
	if strings.Contains(out.String(), "hidden") || strings.Count(out.String(), "\n") != MaxLines+7 {
		t.Error("the writer got something else")
	}
	log.Info(strings.Repeat("x", 10*maxLine))
	if l := tail.Lines(); len(l[len(l)-1]) > maxLine {
		t.Errorf("a line of %d bytes is kept", len(l[len(l)-1]))
	}
}

func TestTheLevelGoesBackByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		tail := New(&out, slog.LevelInfo)
		log := tail.Logger()
		if base, now, until, err := tail.SetLevel("debug", time.Minute); err != nil || base != "info" || now != "debug" || time.Until(until) != time.Minute {
			t.Fatal(base, now, until, err)
		}
		log.Debug("first")
		time.Sleep(30 * time.Second)
		if base, _, _, err := tail.SetLevel("DEBUG", time.Minute); err != nil || base != "info" {
			t.Fatal(base, err)
		}
		time.Sleep(45 * time.Second)
		log.Debug("second")
		time.Sleep(16 * time.Second)
		log.Debug("third")
		if got := out.String(); !strings.Contains(got, "first") || !strings.Contains(got, "second") || strings.Contains(got, "third") {
			t.Error(got)
		}
	})
}

func TestBadLevels(t *testing.T) {
	tail := New(&bytes.Buffer{}, slog.LevelInfo)
	for _, c := range []struct {
		level string
		d     time.Duration
	}{{"loud", time.Minute}, {"", time.Minute}, {"info+3", time.Minute}, {"debug", -1}, {"debug", 25 * time.Hour}} {
		if _, _, _, err := tail.SetLevel(c.level, c.d); err == nil {
			t.Errorf("%q for %v was taken", c.level, c.d)
		}
	}
}
