package socks

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is what one says, and what it hears.
type client struct {
	says  *bytes.Reader
	hears bytes.Buffer
}

func (c *client) Read(p []byte) (int, error)  { return c.says.Read(p) }
func (c *client) Write(p []byte) (int, error) { return c.hears.Write(p) }

func TestRequests(t *testing.T) {
	const hello = "05 01 00 "
	long := strings.Repeat("61", 253)
	for _, tt := range []struct{ name, says, want, hears string }{
		{"IPv4", hello + "05 01 00 01 0a 2a 01 0e 00 50", "10.42.1.14:80", "0500"},
		{"IPv6", hello + "05 01 00 04 fd42 0042 0000 0001 0000 0000 0000 000e 01 bb", "[fd42:42:0:1::e]:443", "0500"},
		{"IPv4 in IPv6", hello + "05 01 00 04 0000 0000 0000 0000 0000 ffff 0a2a 010e 00 50", "10.42.1.14:80", "0500"},
		{"a name", hello + "05 01 00 03 03 777765 00 50", "wwe:80", "0500"},
		{"an address as a name", hello + "05 01 00 03 09 3132372e302e302e31 00 50", "127.0.0.1:80", "0500"},
		{"the longest name", hello + "05 01 00 03 fd " + long + " 00 50", strings.Repeat("a", 253) + ":80", "0500"},
		{"several methods", "05 03 02 01 00 05 01 00 01 0a 2a 01 0e 00 50", "10.42.1.14:80", "0500"},
		{"what follows is the target's", hello + "05 01 00 01 0a 2a 01 0e 00 50 ffff", "10.42.1.14:80", "0500"},
		{"bad: no method of ours", "05 01 02", "socks: the client insists on a user and password; this proxy has none, set it to no authentication", "05ff"},
		{"bad: no methods", "05 00", "socks: the client insists on a user and password; this proxy has none, set it to no authentication", "05ff"},
		{"bad: SOCKS4", "04 01 00 50 0a 2a 01 0e 00", "socks: the client speaks SOCKS4; set it to SOCKS5", "005b000000000000"},
		{"bad: HTTP", "434f4e4e454354", "socks: the client speaks HTTP; set it to SOCKS5, as socks5h://HOST:PORT", ""},
		{"bad: TLS", "16 03 01", "socks: the client speaks version 22, not 5", ""},
		{"bad: BIND", hello + "05 02 00 01 0a 2a 01 0e 00 50", "socks: command 2 is not carried, only CONNECT (1)", "0500 05070001000000000000"},
		{"bad: UDP", hello + "05 03 00 01 0a 2a 01 0e 00 50", "socks: command 3 is not carried, only CONNECT (1)", "0500 05070001000000000000"},
		{"bad: version in the request", hello + "04 01 00 01 0a 2a 01 0e 00 50", "socks: the request is of version 4, not 5", "0500 05010001000000000000"},
		{"bad: address type", hello + "05 01 00 05 0a 2a 01 0e 00 50", "socks: address type 5 is not known", "0500 05080001000000000000"},
		{"bad: an empty name", hello + "05 01 00 03 00 00 50", `socks: "" is no host name`, "0500 05080001000000000000"},
		{"bad: a name with a line break", hello + "05 01 00 03 03 610d0a 00 50", `socks: "a\r\n" is no host name`, "0500 05080001000000000000"},
		{"bad: a name that is too long", hello + "05 01 00 03 fe " + long + "61 00 50", `socks: "` + strings.Repeat("a", 80) + `" is no host name`, "0500 05080001000000000000"},
		{"bad: an address with a zone", hello + "05 01 00 03 08 666538303a3a3125 00 50", `socks: "fe80::1%" is no host name`, "0500 05080001000000000000"},
		{"bad: port 0", hello + "05 01 00 01 0a 2a 01 0e 00 00", "socks: port 0 of 10.42.1.14 cannot be dialled", "0500 05010001000000000000"},
		{"bad: cut in the greeting", "05 02 00", "socks: read the greeting: unexpected EOF", ""},
		{"bad: cut in the request", hello + "05 01", "socks: read the request: unexpected EOF", "0500"},
		{"bad: cut in the address", hello + "05 01 00 01 0a", "socks: read the address: unexpected EOF", "0500"},
		{"bad: cut before the port", hello + "05 01 00 01 0a 2a 01 0e", "socks: read the port: EOF", "0500"},
	} {
		c := &client{says: bytes.NewReader(unhex(t, tt.says))}
		got, err := Accept(c)
		if err != nil {
			got = err.Error()
		}
		if hears := fmt.Sprintf("%x", c.hears.Bytes()); got != tt.want || hears != strings.ReplaceAll(tt.hears, " ", "") {
			t.Errorf("%s:\n got %s, hears %s\nwant %s, hears %s", tt.name, got, hears, tt.want, tt.hears)
		}
		if err == nil && strings.HasSuffix(tt.says, "ffff") {
			if rest, _ := io.ReadAll(c.says); len(rest) != 2 {
				t.Errorf("%s: %d bytes are left", tt.name, len(rest))
			}
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	var b []byte
	if _, err := fmt.Sscanf(strings.ReplaceAll(s, " ", ""), "%x", &b); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return b
}

// FuzzAccept: whatever a client says, a target is one that can be dialled, and no
// more is read than the request.
func FuzzAccept(f *testing.F) {
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x01\x0a\x2a\x01\x0e\x00\x50"))
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x03\x03www\x00\x50rest"))
	f.Add([]byte("\x04\x01\x00\x50"))
	f.Fuzz(func(t *testing.T, says []byte) {
		c := &client{says: bytes.NewReader(says)}
		target, err := Accept(c)
		if err != nil {
			return
		}
		host, port, split := net.SplitHostPort(target)
		if n, bad := strconv.ParseUint(port, 10, 16); split != nil || bad != nil || n == 0 || host == "" || len(host) > maxNameSize || strings.ContainsAny(host, "\r\n /@%") {
			t.Errorf("target %q", target)
		}
		if c.hears.Len() > 2 {
			t.Errorf("hears %x", c.hears.Bytes())
		}
	})
}
