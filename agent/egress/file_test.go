package egress

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"allow:\n- cidr: 10.42.0.0/16\n  ports: [80, 8000-8100]\n", "limited allow [cidr 10.42.0.0/16 ports 80 8000-8100] deny []"},
		{"allow:\n- host: '*.example.com'\ndeny:\n- cidr: fd42::/16", "limited allow [host *.example.com] deny [cidr fd42::/16]"},
		{"allow: []", "limited allow [] deny []"},
		{"deny: [{cidr: 10.42.1.5/32}]", "allow [] deny [cidr 10.42.1.5/32]"},
		{"allow: [{cidr: 169.254.169.254/32, ports: [80]}]", "limited allow [cidr 169.254.169.254/32 ports 80] deny []"},
		{"---\ndeny: [{cidr: 127.0.0.0/8}]\n", "allow [] deny [cidr 127.0.0.0/8]"},

		{"", "says nothing"},
		{"# all is well\n", "says nothing"},
		{"{}", "says nothing"},
		{"allow", "line 1: the file is no set of fields; accepted: allow, deny"},
		{"alow: []", `line 1: "alow" is not a field of the file; accepted: allow, deny`},
		{"'allow deny': []", "is not a field"},
		{"allow: []\nallow: []", "line 2: allow is there twice"},
		{"allow: []\n---\ndeny: []", "more than one document"},
		{"allow:", "line 1: allow is no list of rules; write allow: [] for none"},
		{"allow: 10.42.0.0/16", "line 1: allow is no list"},
		{"deny: null", "line 1: deny is no list"},
		{"allow:\n- 10.42.0.0/16", "line 2: allow[0] is no set of fields; accepted: cidr, host, ports"},
		{"allow:\n- cidr: 10.42.0.0/16\n- {}", "line 3: allow[1].cidr is missing"},
		{"allow:\n- cdir: 10.42.0.0/16", `line 2: "cdir" is not a field of allow[0]; accepted: cidr, host, ports`},
		{"allow:\n- cidr: 10.42.0.1/16", "line 2: allow[0].cidr 10.42.0.1/16 has host bits; did you mean 10.42.0.0/16"},
		{"allow:\n- cidr: 10.42.1.5", `line 2: allow[0].cidr "10.42.1.5" is not a range`},
		{"allow:\n- cidr: ::ffff:10.42.0.0/112", "is IPv4 mapped into IPv6"},
		{"allow:\n- cidr: 10.0.0.0/8\n  host: a.example.com", "line 2: allow[0].host stands beside cidr"},
		{"allow:\n- cidr: 127.0.0.0/8", "line 2: allow[0].cidr 127.0.0.0/8 opens nothing: it is loopback"},
		{"allow:\n- host: 10.42.1.5", `allow[0].host "10.42.1.5" is an address; write it as cidr`},
		{"allow:\n- host: ''", "allow[0].host is no name"},
		{"allow:\n- cidr: 10.0.0.0/8\n  ports: 80", "line 3: allow[0].ports is no list of 1 to 256 ports"},
		{"allow:\n- cidr: 10.0.0.0/8\n  ports: []", "line 3: allow[0].ports is no list"},
		{"allow:\n- cidr: 10.0.0.0/8\n  ports: [http]", `line 3: allow[0].ports: "http" is no port`},
		{"allow:\n- cidr: 10.0.0.0/8\n  ports: [0x50]", `"0x50" is no port`},
		{"allow:\n- cidr: 10.0.0.0/8\n  ports: [70000]", `"70000" is no port`},
		{"a: &a [*a]\nallow: *a", "is not a field"},
		{"allow: &a []\ndeny: *a", "line 2: deny is no list"},
		{"allow: [", "line 1: did not find"},
		{"\x00", "control characters are not allowed"},
		{strings.Repeat("#", maxFile+1), "at most 1048576 are read"},
	} {
		b, err := Parse([]byte(c.in))
		got := fmt.Sprintf("allow %v deny %v", b.Allow, b.Deny)
		if b.Limited {
			got = "limited " + got
		}
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%.80q\n got  %s\n want %s", c.in, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"allow:\n- cidr: 10.42.0.0/16\n  ports: [80, 8000-8100]\n", "deny: [{host: '*.a'}]", "allow: []", "a: &a [*a]", "---\n...\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		b, err := Parse(in)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has lines: %q", err)
			}
			return
		}
		if !b.Limited && len(b.Deny) == 0 && !strings.Contains(string(in), "deny") {
			t.Errorf("%q bounds nothing", in)
		}
	})
}

// A file is followed as it is written: what others may have written, and what
// cannot be read, closes everything until it is mended.
func TestFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "egress.yaml")
		var told atomic.Int32
		f := OpenFile(FileConfig{Path: path, OnChange: func() { told.Add(1) }})
		ends := make(chan struct{})
		ctx, stop := context.WithCancel(t.Context())
		go func() { defer close(ends); _ = f.Run(ctx) }()
		write := func(text string, mode os.FileMode) func() {
			return func() {
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(path, mode); err != nil {
					t.Fatal(err)
				}
			}
		}
		for i, c := range []struct {
			do   func()
			want string
		}{
			{func() {}, "open"},
			{write("allow: []", 0o644), "limited"},
			{write("allow: [", 0o644), "closed: " + path + " line 1: did not find"},
			{write("deny: [{cidr: 10.42.1.5/32}]", 0o644), "denies 1"},
			{write("deny: [{cidr: 10.42.1.5/32}]", 0o664), "closed: " + path + " has mode 0664: others could write what it bounds"},
			{write("", 0o644), "closed: " + path + " says nothing"},
			{write("allow: []", 0o600), "limited"},
			{func() { os.Remove(path) }, "open"},
			{func() { os.Mkdir(path, 0o755) }, "closed: " + path + " is not a file"},
			{func() { os.Remove(path) }, "open"},
		} {
			before := told.Load()
			c.do()
			time.Sleep(3 * lookEvery)
			synctest.Wait()
			if got := textOf(f); !strings.HasPrefix(got, c.want) {
				t.Errorf("step %d: %s, want %s", i, got, c.want)
			}
			if now := told.Load(); i > 0 && now != before+1 {
				t.Errorf("step %d: told %d times", i, now-before)
			}
		}
		stop()
		<-ends
	})
}

// What is half written in one look is not taken before the next.
func TestFileSettles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "egress.yaml")
	if err := os.WriteFile(path, []byte("allow: []"), 0o644); err != nil {
		t.Fatal(err)
	}
	f := OpenFile(FileConfig{Path: path})
	if err := os.WriteFile(path, []byte("deny: [{cidr: 10.42.1.5/32}]"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.look()
	if got := textOf(f); got != "limited" {
		t.Errorf("at the first look it is %s", got)
	}
	f.look()
	if got := textOf(f); got != "denies 1" {
		t.Errorf("at the second it is %s", got)
	}
}

func TestFileNeeded(t *testing.T) {
	f := OpenFile(FileConfig{Path: filepath.Join(t.TempDir(), "gone.yaml"), Needed: true})
	if got := textOf(f); !strings.Contains(got, "is not there, and --egress-file names it") || len(f.Problems()) != 1 {
		t.Errorf("%s, %v", got, f.Problems())
	}
}

func textOf(f *File) string {
	switch b := f.Bound(); {
	case b.Closed != "":
		return "closed: " + b.Closed
	case b.Limited:
		return "limited"
	case len(b.Deny) > 0:
		return fmt.Sprintf("denies %d", len(b.Deny))
	}
	if len(f.Problems()) > 0 {
		return "open, with a problem"
	}
	return "open"
}
