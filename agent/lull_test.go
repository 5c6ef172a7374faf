package agent

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	hostroom "github.com/weft-net/weft/agent/host"
)

// TestLull: others are waited for until they pause, and not for ever.
func TestLull(t *testing.T) {
	for _, tt := range []struct {
		name  string
		stirs int // one each 300 ms, the first before wait
		want  time.Duration
	}{
		{"OK nothing", 0, 0},
		{"OK once", 1, lullFor},
		{"OK a reload", 4, 4 * lullFor},
		{"OK all day", 1000, 8 * lullFor},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				l := lull{stirs: func() uint64 {
					return uint64(min(tt.stirs, 1+int(time.Since(began)/(300*time.Millisecond))))
				}}
				if !l.wait(t.Context()) {
					t.Fatal("ended")
				}
				if got := time.Since(began); got != tt.want {
					t.Errorf("waited %v, want %v", got, tt.want)
				}
				if l.broken() {
					t.Error("broken at once")
				}
			})
		})
	}
}

func TestLullIsBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stirs := uint64(1)
		l := lull{stirs: func() uint64 { return stirs }}
		if !l.broken() || !l.wait(t.Context()) || l.broken() {
			t.Fatal("not quiet")
		}
		if stirs++; !l.broken() {
			t.Error("somebody began anew, and nothing is broken")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if l.wait(ctx) {
			t.Error("waited on after the end")
		}
	})
}

// TestStands: what passes within a second is not told, and words may change.
func TestStands(t *testing.T) {
	var s stands
	at := time.Unix(1e9, 0)
	for _, step := range []struct {
		after time.Duration
		found string // subjects
		want  string
		open  bool
	}{
		{0, "ufw", "", true},
		{500 * time.Millisecond, "ufw disk", "", true},
		{500 * time.Millisecond, "ufw disk", "ufw", true},
		{500 * time.Millisecond, "ufw disk", "ufw disk", false},
		{time.Second, "disk", "disk", false},
		{time.Second, "ufw disk", "disk", true},
		{10 * time.Millisecond, "", "", false},
		{time.Second, "ufw", "", true},
	} {
		at = at.Add(step.after)
		var fs []hostroom.Finding
		for _, name := range strings.Fields(step.found) {
			fs = append(fs, hostroom.Finding{Subject: name, Cause: at.String()})
		}
		var got []string
		for _, f := range s.those(fs, at) {
			got = append(got, f.Subject)
		}
		if strings.Join(got, " ") != step.want || s.open() != step.open {
			t.Errorf("at %v: told %q, open %v; want %q, %v", at, got, s.open(), step.want, step.open)
		}
	}
}
