package userspace_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/agent/kernel/kerneltest"
	"github.com/weft-net/weft/agent/userspace"
)

// systemd stands in for its manager on one connection after another: it takes a call
// and answers with what a test wrote.
func systemd(t *testing.T, answers ...[]byte) (path string, calls <-chan string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "private")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, len(answers))
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for _, a := range answers {
			c, err := l.Accept()
			if err != nil {
				return
			}
			heard <- converse(c, a)
			c.Close()
		}
	}()
	return path, heard
}

// converse returns the words of the call.
func converse(c net.Conn, answer []byte) string {
	in := bufio.NewReader(c)
	if _, err := in.ReadString('\n'); err != nil {
		return err.Error()
	}
	if _, err := io.WriteString(c, "OK 1234\r\n"); err != nil {
		return err.Error()
	}
	if _, err := in.ReadString('\n'); err != nil {
		return err.Error()
	}
	head := make([]byte, 16)
	if _, err := io.ReadFull(in, head); err != nil {
		return err.Error()
	}
	rest := make([]byte, (binary.LittleEndian.Uint32(head[12:])+7)&^7+binary.LittleEndian.Uint32(head[4:]))
	if _, err := io.ReadFull(in, rest); err != nil {
		return err.Error()
	}
	_, _ = c.Write(answer)
	_, _ = io.ReadAll(in) // until the other end closes
	return string(rest)
}

// The bodies of messages: a text, and JobRemoved's values.

func text(s string) []byte {
	return append(append(binary.LittleEndian.AppendUint32(nil, uint32(len(s))), s...), 0)
}

func removed(path, unit, result string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 7)
	for _, s := range []string{path, unit, result} {
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		b = append(b, text(s)...)
	}
	return b
}

// message writes one (D-Bus specification, "Message Format"); fields are pairs of a
// code and a text, a signature's code is 8.
func message(typ byte, body []byte, signature string, fields map[byte]string) []byte {
	b := []byte{'l', typ, 0, 1}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, 9, 0, 0, 0, 0, 0, 0, 0)
	b = append(b, 5, 1, 'u', 0, 1, 0, 0, 0) // the serial of the call that it answers
	for code, s := range fields {
		for len(b)%8 != 0 {
			b = append(b, 0)
		}
		b = append(append(b, code, 1, 's', 0), text(s)...)
	}
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	b = append(append(b, 8, 1, 'g', 0, byte(len(signature))), signature...)
	b = append(b, 0)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(b)-16))
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return append(b, body...)
}

// TestSystemd: the unit of a device is started and stopped, and what becomes of that
// is waited for.
func TestSystemd(t *testing.T) {
	const job = "/org/freedesktop/systemd1/job/7"
	const weft = "weft-wireguard@weft-wg0.service"
	answer := message(2, text(job), "o", nil)
	other := message(4, removed("/org/freedesktop/systemd1/job/6", "other.service", "failed"), "uoss", map[byte]string{3: "JobRemoved"})
	ends := func(result string) []byte {
		return message(4, removed(job, weft, result), "uoss", map[byte]string{3: "JobRemoved"})
	}
	all := func(list ...[]byte) (out []byte) {
		for _, b := range list {
			out = append(out, b...)
		}
		return out
	}
	none := message(3, text("Unit "+weft+" not found."), "s", map[byte]string{4: "org.freedesktop.systemd1.NoSuchUnit"})
	for _, tt := range []struct {
		name   string
		do     func(*userspace.Starter) error
		answer []byte
		call   string
		err    string
	}{
		{"OK start", start, all(answer, other, ends("done")), "StartUnit", ""},
		{"OK start, and the end is said first", start, all(ends("done"), answer), "StartUnit", ""},
		{"OK stop", stop, all(answer, ends("done")), "StopUnit", ""},
		{"OK stop what there is no unit of", stop, none, "StopUnit", ""},
		{"bad start: it fails", start, all(answer, ends("failed")), "StartUnit", "job failed; look: systemctl status " + weft},
		{"bad start: no such unit", start, none, "StartUnit", "put deploy/systemd/weft-wireguard@.service where weft-agent.service is"},
		{"bad start: it says nonsense", start, []byte("x 0123456789012345"), "StartUnit", "byte order"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kerneltest.Netns(t)
			path, calls := systemd(t, tt.answer)
			s, err := userspace.NewStarter(userspace.StarterConfig{Systemd: path})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			got := ""
			if err := tt.do(s); err != nil {
				got = err.Error()
			}
			if (tt.err == "") != (got == "") || !strings.Contains(got, tt.err) {
				t.Errorf("%q; want %q", got, tt.err)
			}
			call := <-calls
			for _, words := range []string{"org.freedesktop.systemd1.Manager", tt.call, weft, "replace"} {
				if !strings.Contains(call, words) {
					t.Errorf("the call has no %q: %q", words, call)
				}
			}
		})
	}
	t.Run("bad start: nobody listens", func(t *testing.T) {
		s, err := userspace.NewStarter(userspace.StarterConfig{Systemd: filepath.Join(t.TempDir(), "none")})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if d := cmp.Diff(true, strings.Contains(start(s).Error(), "no such file")); d != "" {
			t.Error(d)
		}
	})
}

func start(s *userspace.Starter) error { return s.Start(context.Background(), dev) }

func stop(s *userspace.Starter) error { return s.Stop(context.Background(), dev) }
