package dbus

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// answer writes a message as the bus would.
func answer(typ byte, serial uint32, signature string, body []byte) []byte {
	b := []byte{'l', typ, 0, 1}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, 1, 0, 0, 0, 0, 0, 0, 0)
	b = append(b, fieldReplySerial, 1, 'u', 0)
	b = binary.LittleEndian.AppendUint32(b, serial)
	if signature != "" {
		b = append(pad(b, 8), fieldSignature, 1, 'g', 0, byte(len(signature)))
		b = append(append(b, signature...), 0)
	}
	binary.LittleEndian.PutUint32(b[12:], uint32(len(b)-fixedHeader))
	return append(pad(b, 8), body...)
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		what, signature string
		body            []byte
		want            string
	}{
		{"a string", "s", appendString(nil, "public"), "public"},
		{"nothing", "", nil, ""},
		{"true", "b", []byte{1, 0, 0, 0}, "true"},
		{"false", "b", []byte{0, 0, 0, 0}, "false"},
		{"a path", "o", appendString(nil, "/a/b"), "/a/b"},
	} {
		r, err := read(bytes.NewReader(answer(methodReturn, 7, c.signature, c.body)))
		if err != nil || r.serial != 7 {
			t.Errorf("%s: %+v %v", c.what, r, err)
			continue
		}
		if got, err := r.first(); got != c.want || err != nil {
			t.Errorf("%s: %q %v, want %q", c.what, got, err, c.want)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	good := answer(methodReturn, 7, "s", appendString(nil, "public"))
	long := bytes.Clone(good)
	binary.LittleEndian.PutUint32(long[4:], 1<<30)
	for what, b := range map[string][]byte{
		"an end within": good[:len(good)-3], "no byte order": append([]byte{'x'}, good[1:]...), "too long": long, "nothing": nil,
	} {
		if _, err := read(bytes.NewReader(b)); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

// TestMarshal: what is written reads back as a call, field by field.
func TestMarshal(t *testing.T) {
	b := Call{"/p", "i.f", "addPort", []any{"public", "8472", "udp", int32(0)}}.marshal("d.e", 3)
	r, err := read(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if first, err := r.first(); r.typ != methodCall || r.signature != "sssi" || first != "public" || err != nil {
		t.Errorf("%+v %q %v", r, first, err)
	}
	if n := len(r.body); n%4 != 0 {
		t.Errorf("body of %d bytes", n)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(answer(methodReturn, 7, "s", appendString(nil, "public")))
	f.Add(answer(errorReply, 1, "", nil))
	f.Add(Call{"/p", "i.f", "m", nil}.marshal("d", 1))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if r, err := read(bytes.NewReader(b)); err == nil {
			_, _ = r.first()
			_, _ = r.values()
		}
	})
}

// TestNoBus: a bus that is not there is an error that says so.
func TestNoBus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "none"))
	if _, err := System(t.Context()); err == nil || !strings.Contains(err.Error(), "system bus") {
		t.Errorf("%v", err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "tcp:host=x")
	if _, err := System(t.Context()); err == nil || !strings.Contains(err.Error(), "is no unix:path=") {
		t.Errorf("%v", err)
	}
}

// TestRefusedByBus: a bus that says no.
func TestRefusedByBus(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = bufio.NewReader(c).ReadString('\n')
		fmt.Fprint(c, "REJECTED EXTERNAL\r\n")
	}()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+path)
	if _, err := System(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v", err)
	}
}
