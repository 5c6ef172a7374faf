package dbustest

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"testing"
)

// Systemd stands in for systemd's manager on one connection after another: it takes a
// call, whose words it tells, and answers with what a test wrote.
func Systemd(t *testing.T, answers ...[]byte) (path string, calls <-chan string) {
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

// Text is the body of a message that says one thing.
func Text(s string) []byte {
	return append(append(binary.LittleEndian.AppendUint32(nil, uint32(len(s))), s...), 0)
}

// Removed is the body of the signal JobRemoved, of job 7.
func Removed(path, unit, result string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 7)
	for _, s := range []string{path, unit, result} {
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		b = append(b, Text(s)...)
	}
	return b
}

// Message writes one (D-Bus specification, "Message Format"); fields are pairs of a
// code and a text, a signature's code is 8.
func Message(typ byte, body []byte, signature string, fields map[byte]string) []byte {
	b := []byte{'l', typ, 0, 1}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, 9, 0, 0, 0, 0, 0, 0, 0)
	b = append(b, 5, 1, 'u', 0, 1, 0, 0, 0) // the serial of the call that it answers
	for code, s := range fields {
		for len(b)%8 != 0 {
			b = append(b, 0)
		}
		b = append(append(b, code, 1, 's', 0), Text(s)...)
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
