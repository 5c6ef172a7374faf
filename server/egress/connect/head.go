package connect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/weft-net/weft/server/egress"
)

// maxHead bounds a request: its line and all of its fields, in bytes. A target has
// 262 at most, and what clients send besides is short.
const maxHead = 4 << 10

// Fields of requests and answers that are ours.
const (
	fieldNode = egress.HeaderNode // of the node whose agent shall dial
	fieldHop  = egress.HeaderHop  // 1: another server hands the dial on
	fieldCode = "Weft-Code"       // of a refusal: an egress.Code
)

const (
	method   = "CONNECT"
	endsHead = "\r\n\r\n"
)

// errOther says that the first request of a connection is for somebody else: no
// CONNECT, or one that another server hands on.
var errOther = errors.New("connect: not for this front end")

// readHead reads the head of a request into b, whose length is 0 and whose capacity
// bounds it. What it returns in any case is all that was read: the head and what
// follows it.
func readHead(conn net.Conn, b []byte) (all []byte, end int, err error) {
	for {
		n, err := conn.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if prefix := b[:min(len(b), len(method)+1)]; !strings.HasPrefix(method+" ", string(prefix)) {
			return b, 0, errOther
		}
		if at := bytes.Index(b, []byte(endsHead)); at >= 0 {
			return b, at + len(endsHead), nil
		}
		switch {
		case len(b) == cap(b):
			return b, 0, &answer{http.StatusRequestHeaderFieldsTooLarge, egress.Malformed, fmt.Sprintf("the request has more than %d bytes before its empty line", cap(b))}
		case errors.Is(err, io.EOF) && len(b) > 0:
			return b, 0, malformed("the request ends before its empty line")
		case err != nil:
			return b, 0, err
		}
	}
}

// parse reads a head, which ends with its empty line. The error is an answer, or
// errOther.
func parse(b []byte) (egress.Request, error) {
	lines := strings.Split(strings.TrimSuffix(string(b), endsHead), "\r\n")
	for i, line := range lines {
		if strings.ContainsAny(line, "\r\n\x00") {
			return egress.Request{}, malformed("line %d holds a byte that no line may hold: CR, LF or NUL", i+1)
		}
	}
	version, target, err := requestLine(lines[0])
	if err != nil {
		return egress.Request{}, err
	}
	request, err := egress.ParseTarget(target)
	if err != nil {
		return egress.Request{}, answerOf(err)
	}
	f, err := readFields(lines[1:])
	switch {
	case err != nil:
		return egress.Request{}, err
	case f.hop:
		return egress.Request{}, errOther
	case f.unknown != "":
		return egress.Request{}, malformed("field %.40s is not known; accepted: %s", f.unknown, fieldNode)
	}
	if version == "HTTP/1.1" && !f.host {
		return egress.Request{}, malformed("there is no field Host, which HTTP/1.1 asks for (RFC 9112, section 3.2)")
	}
	request.Node = f.node
	return request, nil
}

func requestLine(line string) (version, target string, err error) {
	parts := strings.Split(line, " ")
	if len(parts) != 3 || parts[0] != method {
		return "", "", malformed("the first line is not CONNECT HOST:PORT HTTP/1.1")
	}
	switch {
	case parts[2] != "HTTP/1.1" && parts[2] != "HTTP/1.0":
		return "", "", &answer{http.StatusHTTPVersionNotSupported, egress.Malformed, fmt.Sprintf("version %.20q is not spoken here; accepted: HTTP/1.1, HTTP/1.0", parts[2])}
	case strings.Contains(parts[1], "@"): // and they are not repeated
		return "", "", malformed("the target has credentials in it; who asks is known by the certificate or the socket. Write HOST:PORT")
	}
	return parts[2], parts[1], nil
}

// fields is what counts of a request's fields.
type fields struct {
	host, hop bool
	node      string
	unknown   string // name of one that looks like ours
}

func readFields(lines []string) (f fields, err error) {
	seen := map[string]bool{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(name) {
			return f, malformed("%.40q is no field: write NAME: VALUE", line)
		}
		name, value = http.CanonicalHeaderKey(name), strings.Trim(value, " \t")
		if strings.ContainsFunc(value, control) {
			return f, malformed("field %.40s holds control characters", name)
		}
		if ours := strings.HasPrefix(name, "Weft-"); seen[name] && (ours || name == "Host") {
			return f, malformed("field %.40s is given twice", name)
		}
		seen[name] = true
		if err := f.take(name, value); err != nil {
			return f, err
		}
	}
	return f, nil
}

// take reads one field. What asks for something that is not done is refused, so that
// nobody takes it for done.
func (f *fields) take(name, value string) error {
	switch name {
	case "Host": // who sends it writes the proxy's or the target's
		f.host = true
	case fieldNode:
		if value == "" {
			return malformed("field %s is empty; give a node's name, or leave it out", name)
		}
		f.node = value
	case fieldHop:
		if value != "1" {
			return malformed("field %s is %.20q; accepted: 1", name, value)
		}
		f.hop = true
	case "Proxy-Authorization", "Authorization":
		return malformed("field %s is not taken here: who asks is known by the certificate or the socket", name)
	case "Transfer-Encoding", "Expect", "Upgrade":
		return malformed("field %s has no meaning in CONNECT, whose request has no content (RFC 9110, section 9.3.6)", name)
	case "Content-Length":
		if strings.Trim(value, "0") != "" || value == "" {
			return malformed("field %s is %.20q; CONNECT has no content (RFC 9110, section 9.3.6)", name, value)
		}
	default:
		if strings.HasPrefix(name, "Weft-") {
			f.unknown = name
		}
	}
	return nil
}

// token tells whether a text is a token (RFC 9110, section 5.6.2).
func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

func control(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
