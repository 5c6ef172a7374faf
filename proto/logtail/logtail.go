package logtail

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// What is kept: lines, and bytes of each.
const (
	MaxLines = 1000
	maxLine  = 2048
)

// Bounds on a change of level.
const (
	Longest = 24 * time.Hour
	Usual   = 10 * time.Minute // when nobody says how long
)

// Tail is where a process logs to. It is safe for concurrent use.
type Tail struct {
	out   io.Writer
	level slog.LevelVar

	mu    sync.Mutex
	base  slog.Level // that it goes back to
	back  *time.Timer
	lines []string // a ring once it is full
	next  int
}

// New returns a Tail that writes to out from a level on.
func New(out io.Writer, level slog.Level) *Tail {
	t := &Tail{out: out, base: level}
	t.level.Set(level)
	return t
}

// Logger logs to the tail.
func (t *Tail) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(t, &slog.HandlerOptions{Level: &t.level}))
}

// Write takes one line, as slog's handlers write it.
func (t *Tail) Write(line []byte) (int, error) {
	t.keep(strings.TrimSuffix(string(line[:min(len(line), maxLine)]), "\n"))
	return t.out.Write(line)
}

func (t *Tail) keep(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) < MaxLines {
		t.lines = append(t.lines, line)
		return
	}
	t.lines[t.next] = line
	t.next = (t.next + 1) % MaxLines
}

// Lines are the last ones, the oldest first.
func (t *Tail) Lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append(append(make([]string, 0, len(t.lines)), t.lines[t.next:]...), t.lines[:t.next]...)
}

// SetLevel logs from another level on, for a time; 0 is the usual one. It answers
// the level that it goes back to then, and when.
func (t *Tail) SetLevel(level string, d time.Duration) (base, now string, until time.Time, err error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil || strings.ContainsAny(level, "+-") {
		return "", "", time.Time{}, fmt.Errorf("log level %.20q is none of debug, info, warn, error", level)
	}
	if d == 0 {
		d = Usual
	}
	if d < 0 || d > Longest {
		return "", "", time.Time{}, fmt.Errorf("a log level for %v: from a second to %v", d, Longest)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.back != nil {
		t.back.Stop()
	}
	t.level.Set(l)
	t.back = time.AfterFunc(d, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.level.Set(t.base)
	})
	return strings.ToLower(t.base.String()), strings.ToLower(l.String()), time.Now().Add(d), nil
}
