package vm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Bounds, for a host that has much else to do: on an idle one a machine boots in 3 s.
const (
	fetching = 15 * time.Minute
	booting  = 10 * time.Minute
	running  = 25 * time.Minute
)

// kernelTests are the tests that need a kernel with WireGuard: a package, and which
// of its tests.
var kernelTests = []struct{ dir, pattern string }{
	{"agent/kernel", "^Test(WireGuard|Conform)"},
}

func fetch(t *testing.T) Machine {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), fetching)
	defer cancel()
	m, err := Fetch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestMachine: what is run is on another kernel, its status comes back, what it writes
// does not.
func TestMachine(t *testing.T) {
	m := fetch(t)
	ctx, cancel := context.WithTimeout(t.Context(), booting)
	defer cancel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "there"), []byte("of the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := m.Run(ctx, dir, "cat there; echo changed >there; cat there; uname -r; ip link add wg0 type wireguard && ip -o link show wg0; exit 3", &out)
	if err == nil || err.Error() != "vm: exit status 3" {
		t.Errorf("%v, %s", err, &out)
	}
	release, err := os.ReadFile(filepath.Join(m.dir, "release"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "of the host\nchanged\n" + string(release) + "2: wg0: <"; !strings.Contains(out.String(), want) {
		t.Errorf("%s\nwant %q", &out, want)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "there")); string(b) != "of the host\n" {
		t.Errorf("the host's file says %q, %v", b, err)
	}
}

// TestMachineThatStays: one that does not end in time is ended.
func TestMachineThatStays(t *testing.T) {
	m := fetch(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := m.Run(ctx, "/", "sleep 1000", new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), "was still on") {
		t.Error(err)
	}
}

var verdict = regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): (\S+)`)

// TestWireGuard runs the tests that ask for WireGuard where the kernel has it.
func TestWireGuard(t *testing.T) {
	m, bin := fetch(t), t.TempDir()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for i, k := range kernelTests {
		binary := filepath.Join(bin, fmt.Sprintf("%d.test", i))
		build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, "./"+k.dir)
		build.Dir = root
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", k.dir, err, out)
		}
		fmt.Fprintf(&script, "cd '%s/%s' && %s -test.v -test.parallel 1 -test.run '%s' || bad=1\n", root, k.dir, binary, k.pattern)
	}
	ctx, cancel := context.WithTimeout(t.Context(), running)
	defer cancel()
	var out bytes.Buffer
	err = m.Run(ctx, root, "export WEFT_PATIENCE=10m\n"+script.String()+"exit ${bad:-0}", &out)
	passed := 0
	for _, v := range verdict.FindAllStringSubmatch(out.String(), -1) {
		if v[1] == "PASS" {
			passed++
		} else {
			t.Errorf("%s: %s", v[2], v[1]) // what is skipped there runs nowhere
		}
	}
	if err != nil || passed < len(kernelTests) || t.Failed() {
		t.Errorf("%d passed; %v\n%s", passed, err, &out)
	}
	t.Logf("%d tests passed where the kernel has WireGuard", passed)
}
