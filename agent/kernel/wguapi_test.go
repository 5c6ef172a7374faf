package kernel

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// process stands in for one that makes a device: each connection has its answers, and
// is closed after the last.
func process(t *testing.T, dev string, connections ...[]string) (heard <-chan string) {
	t.Helper()
	if err := os.MkdirAll(uapiDir, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", uapiSocket(dev))
	if err != nil {
		t.Fatal(err)
	}
	requests, done := make(chan string, 16), make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for _, answers := range connections {
			c, err := l.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(c)
			for _, answer := range answers {
				var all strings.Builder
				for line := ""; line != "\n"; all.WriteString(line) {
					if line, err = in.ReadString('\n'); err != nil {
						break
					}
				}
				requests <- all.String()
				_, _ = io.WriteString(c, answer)
			}
			c.Close()
		}
	}()
	return requests
}

// TestUAPI is what comes of two requests, one after the other.
func TestUAPI(t *testing.T) {
	const ok, request = "errno=0\n\n", "set=1\npublic_key=00\nupdate_only=true\nendpoint=192.0.2.1:1\n\n"
	for _, tt := range []struct {
		name        string
		connections [][]string
		asked       int    // requests that were read
		err         string // of the second
		is          error  // likewise
	}{
		{"OK by one connection", [][]string{{ok, ok}}, 2, "", nil},
		{"OK the first was closed meanwhile", [][]string{{ok}, {ok}}, 2, "", nil},
		{"bad: refused, and said so", [][]string{{ok, "errno=-22\n\n"}}, 2, "invalid argument", unix.EINVAL},
		{"bad: no number", [][]string{{ok, "errno=x\n\n"}, {"errno=\n\n"}}, 3, `begins with "errno=\n"`, nil},
		{"bad: nonsense twice", [][]string{{ok, "hello\n\n"}, {"hello\n\n"}}, 3, `begins with "hello\n"`, nil},
		{"bad: no end", [][]string{{ok, "errno=0\nerrno=0\n"}, {"errno=0\nx\n"}}, 3, `ends with "x\n"`, nil},
		{"bad: it closes without a word", [][]string{{ok}, {""}}, 2, "EOF", io.EOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			heard := process(t, "weft-wg0", tt.connections...)
			a := &asks{turn: make(chan struct{}, 1)}
			defer a.hangUp()
			if err := a.set("weft-wg0", request); err != nil {
				t.Fatal(err)
			}
			err := a.set("weft-wg0", request)
			if (tt.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.err) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v; want %q", err, tt.err)
			}
			for range tt.asked {
				if got := <-heard; got != request {
					t.Errorf("request %q", got)
				}
			}
		})
	}
	t.Run("bad: nobody listens", func(t *testing.T) {
		a := &asks{turn: make(chan struct{}, 1)}
		if err := a.set("weft-wg0", request); !errors.As(err, new(*noUAPI)) {
			t.Errorf("%v", err)
		}
	})
}
