package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/cmd/weft/internal/fabrictest"
)

// fixture is a fabric with a tool that asks it.
type fixture struct {
	*fabrictest.Fabric
	out, err bytes.Buffer
}

func start(t *testing.T) *fixture {
	t.Helper()
	f, err := fabrictest.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return &fixture{Fabric: f}
}

func (f *fixture) cli() *cli {
	env := map[string]string{"WEFT_CONFIG": f.Admin, "WEFT_AGENT_SOCKET": f.Socket}
	return &cli{in: strings.NewReader(""), out: &f.out, err: &f.err, env: func(k string) string { return env[k] }, now: clock}
}

// lines hands out what is written, line by line.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		l <- strings.TrimSpace(line)
	}
	return len(p), nil
}

// TestWatchTellsChanges: a watch goes on with what happens after its start, and
// ends well when the person ends it.
func TestWatchTellsChanges(t *testing.T) {
	f := start(t)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	out := make(lines)
	watching := f.cli()
	watching.out = out
	done := make(chan int)
	go func() { done <- watching.run(ctx, []string{"get", "leases", "-w", "--no-headers"}) }()
	got := []string{<-out, <-out}
	if code := f.cli().run(ctx, []string{"delete", "lease", "n1"}); code != 0 {
		t.Fatal(f.err.String())
	}
	got = append(got, <-out)
	want := []string{
		"n1  n1  10.42.1.0/24,fd42:42:0:1::/64",
		"n2  n2  10.42.2.0/24,fd42:42:0:2::/64",
		"n1  n1  10.42.1.0/24,fd42:42:0:1::/64",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	end()
	if code := <-done; code != 0 {
		t.Errorf("exit status %d after Ctrl-C: %s", code, f.err.String())
	}
}

// TestColours: only for a terminal, and never in the way of columns.
func TestColours(t *testing.T) {
	f := start(t)
	c := f.cli()
	c.colours, c.width = true, 100
	if code := c.run(t.Context(), []string{"get", "nodes", "--no-headers"}); code != 0 {
		t.Fatal(f.err.String())
	}
	want := "n1  \x1b[32mReady\x1b[0m  41d  10.42.1.0/24,fd42:42:0:1::/64\n" +
		"n2  \x1b[32mReady\x1b[0m  41d  10.42.2.0/24,fd42:42:0:2::/64\n"
	if diff := cmp.Diff(want, f.out.String()); diff != "" {
		t.Error(diff)
	}
}

// TestPaintSteps: each line by its sign.
func TestPaintSteps(t *testing.T) {
	c := &cli{colours: true}
	got := c.paintSteps("n1  2 steps\n  + route\n  - link\n  ~ addr\n\n")
	want := "n1  2 steps\n\x1b[32m  + route\x1b[0m\n\x1b[31m  - link\x1b[0m\n\x1b[33m  ~ addr\x1b[0m\n\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
