package vm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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
	{"agent/kernel", "^Test(WireGuard|Conform|OnlyDifferences)"},
	{"agent/userspace", "."}, // on a kernel that would make devices by itself
}

// scenarios of package integration are run with the kernel's WireGuard too. Those of
// testdata need it: they run here only.
var scenarios = []string{"mesh-static", "mesh-static6", "mesh-wireguard", "mesh-restart"}

// asked are scenarios to run instead of all those, for make vm SCENARIOS="...".
func asked() []string { return strings.Fields(os.Getenv("WEFT_VM_SCENARIOS")) }

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

// root is the folder of the module.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// build makes a program of a package's tests.
func build(t *testing.T, dir string) (binary string) {
	t.Helper()
	binary = filepath.Join(t.TempDir(), "tests")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, "./"+dir)
	cmd.Dir = root(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", dir, err, out)
	}
	return binary
}

var verdict = regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): (\S+) \((.*)\)`)

// tried runs the lines of a script, of which each runs tests, and returns what they
// print, and how many passed. What is skipped there runs nowhere: it is a failure.
func tried(t *testing.T, script string) (out string, passed int) {
	t.Helper()
	m := fetch(t)
	ctx, cancel := context.WithTimeout(t.Context(), running)
	defer cancel()
	var all bytes.Buffer
	err := m.Run(ctx, root(t), "export WEFT_PATIENCE=10m\n"+script+"exit ${bad:-0}", &all)
	for _, v := range verdict.FindAllStringSubmatch(all.String(), -1) {
		if v[1] == "PASS" {
			passed++
			t.Logf("%s %s", v[2], v[3])
		} else {
			t.Errorf("%s: %s", v[2], v[1])
		}
	}
	if err != nil || t.Failed() {
		t.Fatalf("%d passed; %v\n%s", passed, err, &all)
	}
	return all.String(), passed
}

// TestWireGuard runs the tests that ask for WireGuard where the kernel has it.
func TestWireGuard(t *testing.T) {
	var script strings.Builder
	for _, k := range kernelTests {
		fmt.Fprintf(&script, "cd '%s' && %s -test.v -test.parallel 1 -test.run '%s' || bad=1\n", filepath.Join(root(t), k.dir), build(t, k.dir), k.pattern)
	}
	if out, passed := tried(t, script.String()); passed < len(kernelTests) {
		t.Errorf("%d passed\n%s", passed, out)
	}
}

// TestScenarios runs the scenarios of the host once more where the kernel has
// WireGuard: they see that it was the kernel that made the devices. Then those of
// nodes of both kinds.
func TestScenarios(t *testing.T) {
	// A program whose pages come one by one over 9p is slow until all of it has come.
	const warm = "cat '%s'/bin/weft* '%s' >/dev/null\n"
	const run = "%s -test.v -test.parallel 1 -test.run '^TestScenarios$/^(%s)$' || bad=1\n"
	own, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(own) == 0 {
		t.Fatalf("testdata: %v", err)
	}
	for i, path := range own {
		own[i] = strings.TrimSuffix(filepath.Base(path), ".txtar")
	}
	both := scenarios
	if list := asked(); len(list) > 0 {
		isOwn := func(name string) bool { return slices.Contains(own, name) }
		both = slices.DeleteFunc(slices.Clone(list), isOwn)
		own = slices.DeleteFunc(list, func(name string) bool { return !isOwn(name) })
	}
	binary, all := build(t, "integration"), slices.Concat(both, own)
	script := fmt.Sprintf(warm+"cd '%s'\nexport WEFT_WIREGUARD=kernel\n", root(t), binary, filepath.Join(root(t), "integration"))
	if len(both) > 0 {
		script += fmt.Sprintf(run, binary, strings.Join(both, "|"))
	}
	if len(own) > 0 {
		script += "unset WEFT_WIREGUARD\nexport WEFT_SCENARIOS=vm/testdata\n" + fmt.Sprintf(run, binary, strings.Join(own, "|"))
	}
	out, _ := tried(t, script)
	for _, name := range all {
		if !strings.Contains(out, "--- PASS: TestScenarios/"+name+" ") {
			t.Errorf("%s was not run", name)
		}
	}
	if len(asked()) > 0 {
		t.Log(out) // each was asked for: who asks wants to see it
	}
	if n := strings.Count(out, "> made "); n < len(all) || !strings.Contains(out, ": made by kernel\n") {
		t.Errorf("%d looks at who made devices, of %d scenarios\n%s", n, len(all), out)
	}
}
