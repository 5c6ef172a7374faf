package connect

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/weft-net/weft/server/egress"
)

// unquote makes a line of a table what a client sends: \r\n after each |, and the
// empty line.
func unquote(line string) string {
	return strings.ReplaceAll(line, "|", "\r\n") + "\r\n\r\n"
}

func TestHeads(t *testing.T) {
	for _, c := range []struct{ sent, want string }{
		{"CONNECT 10.42.1.5:80 HTTP/1.1|Host: 127.0.0.1", "10.42.1.5:80"}, // a kube-apiserver's
		{"CONNECT 10.42.1.5:80 HTTP/1.1|Host: 10.42.1.5:80|User-Agent: curl/8.5|Proxy-Connection: Keep-Alive", "10.42.1.5:80"},
		{"CONNECT [fd42:42:0:1::5]:10250 HTTP/1.1|Host: x", "[fd42:42:0:1::5]:10250"},
		{"CONNECT n1:10250 HTTP/1.0", "n1:10250"},
		{"CONNECT Web.Default.Svc.:443 HTTP/1.1|Host: x", "web.default.svc:443"},
		{"CONNECT n1:1 HTTP/1.1|host:x|content-length: 0|X-Any: \u00e9\tx", "n1:1"},
		{"CONNECT 10.0.0.1:22 HTTP/1.1|Host: x|weft-node:  n1 ", "10.0.0.1:22 node n1"},
	} {
		h, err := parse([]byte(unquote(c.sent)))
		got := h.String()
		if h.Node != "" {
			got += " node " + h.Node
		}
		if err != nil || got != c.want {
			t.Errorf("%s\ngot  %s, %v\nwant %s", c.sent, got, err, c.want)
		}
	}
}

// bad are requests that are refused, with the status and what the reason says.
var bad = []struct{ sent, want string }{
	{"CONNECT 10.42.1.5 HTTP/1.1|Host: x", `400 "10.42.1.5" is no target; write HOST:PORT`},
	{"CONNECT 10.42.1.5: HTTP/1.1|Host: x", `400 "10.42.1.5:" has no port from 1 to 65535`},
	{"CONNECT 10.42.1.5:0 HTTP/1.1|Host: x", `400 "10.42.1.5:0" has no port`},
	{"CONNECT 10.42.1.5:65536 HTTP/1.1|Host: x", `400 "10.42.1.5:65536" has no port`},
	{"CONNECT 10.42.1.5:+80 HTTP/1.1|Host: x", `400 "10.42.1.5:+80" has no port`},
	{"CONNECT 10.42.1.5:http HTTP/1.1|Host: x", `400 "10.42.1.5:http" has no port`},
	{"CONNECT fd42::5:80 HTTP/1.1|Host: x", `400 "fd42::5:80" is no target; write HOST:PORT, an IPv6 address in brackets`},
	{"CONNECT [fe80::1%eth0]:80 HTTP/1.1|Host: x", `400 fe80::1%eth0 has a zone`},
	{"CONNECT :80 HTTP/1.1|Host: x", `400 "" is neither an address nor a name`},
	{"CONNECT a_b!:80 HTTP/1.1|Host: x", `400 "a_b!" is neither an address nor a name`},
	{"CONNECT -x:80 HTTP/1.1|Host: x", `400 "-x" is neither an address nor a name`},
	{"CONNECT \xff\xfe:80 HTTP/1.1|Host: x", `400 "\xff\xfe" is neither an address nor a name`},
	{"CONNECT ann:hunter2@n1:80 HTTP/1.1|Host: x", `400 the target has credentials in it`},
	{"CONNECT /v1/tunnel HTTP/1.1|Host: x", `400 "/v1/tunnel" is no target`},
	{"CONNECT http://n1:80/ HTTP/1.1|Host: x", `400 `},
	{"CONNECT  n1:80 HTTP/1.1|Host: x", `400 the first line is not CONNECT HOST:PORT HTTP/1.1`},
	{"CONNECT n1:80|Host: x", `400 the first line is not CONNECT HOST:PORT HTTP/1.1`},
	{"CONNECT n1:80 HTTP/1.1 |Host: x", `400 the first line is not CONNECT HOST:PORT HTTP/1.1`},
	{"CONNECT n1:80 HTTP/2.0|Host: x", `505 version "HTTP/2.0" is not spoken here`},
	{"CONNECT n1:80 http/1.1|Host: x", `505 version "http/1.1"`},
	{"CONNECT n1:80 HTTP/1.1", `400 there is no field Host`},
	{"CONNECT n1:80 HTTP/1.1|Host: a|Host: b", `400 field Host is given twice`},
	{"CONNECT n1:80 HTTP/1.1|Host: x| folded", `400 " folded" is no field`},
	{"CONNECT n1:80 HTTP/1.1|Host : x", `400 "Host : x" is no field`},
	{"CONNECT n1:80 HTTP/1.1|Host: x|: y", `400 ": y" is no field`},
	{"CONNECT n1:80 HTTP/1.1|Host: x|no colon", `400 "no colon" is no field`},
	{"CONNECT n1:80 HTTP/1.1\nHost: x", `400 line 1 holds a byte that no line may hold`},
	{"CONNECT n1:80 HTTP/1.1|Host: x\x00", `400 line 2 holds a byte that no line may hold`},
	{"CONNECT n1:80 HTTP/1.1|Host: x|A: \x1b[31m", `400 field A holds control characters`},
	{"CONNECT n1:80 HTTP/1.1|Host: x|Content-Length: 5", `400 field Content-Length is "5"; CONNECT has no content`},
	{"CONNECT n1:80 HTTP/1.1|Host: x|Content-Length: -0", `400 field Content-Length is "-0"`},
	{"CONNECT n1:80 HTTP/1.1|Host: x|Transfer-Encoding: chunked", `400 field Transfer-Encoding has no meaning in CONNECT`},
	{"CONNECT n1:80 HTTP/1.1|Host: x|Expect: 100-continue", `400 field Expect has no meaning in CONNECT`},
	{"CONNECT n1:80 HTTP/1.1|Host: x|Upgrade: websocket", `400 field Upgrade has no meaning in CONNECT`},
	{"CONNECT n1:80 HTTP/1.1|Host: x|Proxy-Authorization: Basic YTpi", `400 field Proxy-Authorization is not taken here`},
	{"CONNECT n1:80 HTTP/1.1|Host: x|Weft-Node: n1|Weft-Node: n2", `400 field Weft-Node is given twice`},
	{"CONNECT n1:80 HTTP/1.1|Host: x|Weft-Node:", `400 field Weft-Node is empty`},
	{"CONNECT n1:80 HTTP/1.1|Host: x|Weft-Nod: n1", `400 field Weft-Nod is not known; accepted: Weft-Node`},
	{"CONNECT n1:80 HTTP/1.1|Host: x|Weft-Hop: 2", `400 field Weft-Hop is "2"; accepted: 1`},
}

// What another server hands on has fields of its own, and is answered elsewhere.
func TestHandedOn(t *testing.T) {
	_, err := parse([]byte(unquote("CONNECT 10.0.0.1:22 HTTP/1.1|Host: x|Weft-Dial: d1|Weft-Hop: 1|Weft-Node: n1|Weft-Next: x")))
	if !errors.Is(err, errOther) {
		t.Error(err)
	}
}

func TestBadHeads(t *testing.T) {
	for _, c := range bad {
		_, err := parse([]byte(unquote(c.sent)))
		var a *answer
		if !errors.As(err, &a) {
			t.Errorf("%q\ngot  %v\nwant %s", c.sent, err, c.want)
			continue
		}
		if got := fmt.Sprint(a.Status, " ", a.Reason); !strings.HasPrefix(got, c.want) || a.Code != egress.Malformed || strings.Contains(got, "hunter2") {
			t.Errorf("%q\ngot  %s (%s)\nwant %s", c.sent, got, a.Code, c.want)
		}
	}
}

// pieces is a connection that gives what was sent in pieces of some bytes.
type pieces struct {
	net.Conn
	left []byte
	size int
}

// Read implements net.Conn.
func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, errors.New("it waits")
	}
	n := copy(b, p.left[:min(p.size, len(p.left))])
	p.left = p.left[n:]
	return n, nil
}

func TestReadHead(t *testing.T) {
	long := "CONNECT n1:80 HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 64<<10)
	for _, c := range []struct{ name, sent, head, err string }{
		{"whole", "CONNECT n1:80 HTTP/1.1\r\n\r\n", "CONNECT n1:80 HTTP/1.1\r\n\r\n", ""},
		{"and more", "CONNECT n1:80 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", "CONNECT n1:80 HTTP/1.1\r\n\r\n", ""},
		{"half", "CONNECT n1:80 HTT", "", "it waits"},
		{"a field of 64 KB", long, "", "more than 4096 bytes"},
		{"a line of 64 KB", "CONNECT " + strings.Repeat("a", 64<<10) + ":80 HTTP/1.1\r\n\r\n", "", "more than 4096 bytes"},
		{"another method", "GET / HTTP/1.1\r\n\r\n", "", errOther.Error()},
		{"a longer word", "CONNECTED n1:80 HTTP/1.1\r\n\r\n", "", errOther.Error()},
		{"TLS in TLS", "\x16\x03\x01\x02\x00\x01", "", errOther.Error()},
	} {
		for _, size := range []int{1, 7, 1 << 20} {
			all, end, err := readHead(&pieces{left: []byte(c.sent), size: size}, make([]byte, 0, maxHead))
			if !strings.HasPrefix(c.sent, string(all)) || cap(all) != maxHead {
				t.Errorf("%s by %d: %d bytes of %d were read, in %d", c.name, size, len(all), len(c.sent), cap(all))
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%s by %d: %v, want %s", c.name, size, err, c.err)
				}
				continue
			}
			if err != nil || string(all[:end]) != c.head {
				t.Errorf("%s by %d: %q, %v", c.name, size, all[:end], err)
			}
		}
	}
}

// What is taken can be said in one way only, and what is refused is one line that a
// client can read.
func FuzzHead(f *testing.F) {
	for _, c := range bad {
		f.Add([]byte(unquote(c.sent)))
	}
	f.Add([]byte(unquote("CONNECT [fd42:42:0:1::5]:10250 HTTP/1.1|Host: x|Weft-Node: n1")))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parse(b)
		if err == nil {
			again, err := parse(fmt.Appendf(nil, "CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n", h))
			if again.Node = h.Node; err != nil || again != h {
				t.Fatalf("%q is %+v, and that is %+v (%v)", b, h, again, err)
			}
			return
		}
		if errors.Is(err, errOther) {
			return
		}
		a := answerOf(err)
		first, rest, _ := strings.Cut(string(a.bytes()), "\r\n")
		if !strings.HasPrefix(first, fmt.Sprintf("HTTP/1.1 %d ", a.Status)) || len(first) > maxPhrase+20 || a.Status < 400 ||
			strings.Count(rest, "\r\n\r\n") != 1 || http.StatusText(a.Status) == "" {
			t.Fatalf("%q is refused with %q", b, a.bytes())
		}
	})
}
