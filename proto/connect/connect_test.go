package connect

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answering is a peer that reads one request and writes an answer, then closes or
// stays.
func answering(t *testing.T, answer string, closes bool) (ours net.Conn, asked func() string) {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan string, 1)
	go func() {
		r, err := http.ReadRequest(bufio.NewReader(theirs))
		if err != nil {
			done <- err.Error()
			theirs.Close()
			return
		}
		_, _ = io.WriteString(theirs, answer)
		if closes {
			theirs.Close()
		}
		done <- fmt.Sprintf("%s %s %s %v", r.Method, r.RequestURI, r.Host, r.Header)
	}()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, func() string { return <-done }
}

func TestAnswers(t *testing.T) {
	long := strings.Repeat("x", maxHead)
	for _, tt := range []struct{ name, answer, want string }{
		{"OK", "HTTP/1.1 200 Connection established\r\n\r\n", "stands"},
		{"OK of HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\n", "stands"},
		{"another success", "HTTP/1.1 204 No Content\r\n\r\n", "stands"},
		{"OK with a length, which means nothing", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", "stands"},
		{"OK in chunks, which means nothing", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "stands"},
		{"OK after interim answers", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "stands"},
		{"OK, and the target spoke", "HTTP/1.1 200 OK\r\n\r\nSSH-2.0-x\r\n", `stands, said "SSH-2.0-x\r\n"`},
		{"interim answers without end", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 5), "connect: more than 4 interim answers to CONNECT"},
		{"refused with a line", "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 12\r\n\r\nnot for you\n", "403 Forbidden: not for you"},
		{"refused with lines", "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 8\r\n\r\none\ntwo\n", "502 Bad Gateway: one"},
		{"refused with a line without end", "HTTP/1.1 502 Bad Gateway\r\n\r\nno route", "502 Bad Gateway: no route"},
		{"refused with a page", "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Type: text/html\r\n\r\n<html>", "407 Proxy Authentication Required"},
		{"refused with words of its own", "HTTP/1.1 403 blocked by policy 7\r\nContent-Type: text/html\r\n\r\n<html>", "403 Forbidden: blocked by policy 7"},
		{"refused in a terminal's language", "HTTP/1.1 403 Forbidden\r\n\r\n\x1b[31mred\x07\xff\n", "403 Forbidden: [31mred"},
		{"refused at length", "HTTP/1.1 403 Forbidden\r\n\r\n" + long, "403 Forbidden: " + long[:maxLine]},
		{"a status of nobody", "HTTP/1.1 799 \r\n\r\n", "799"},
		{"a redirection", "HTTP/1.1 302 Found\r\nLocation: http://login\r\nContent-Length: 0\r\n\r\n", "302 Found"},
		{"another protocol", "SSH-2.0-OpenSSH_9.2\r\n", `connect: the answer to CONNECT is no HTTP: malformed HTTP response "SSH-2.0-OpenSSH_9.2"`},
		{"nothing", "", "connect: the connection was closed instead of an answer to CONNECT"},
		{"half an answer", "HTTP/1.1 200 OK\r\nA: b", "connect: the connection was closed instead of an answer to CONNECT"},
		{"a head without end", "HTTP/1.1 200 OK\r\nA: " + long, "connect: the answer to CONNECT has a head of more than 16384 bytes"},
		{"heads without end", "HTTP/1.1 100 C\r\nA: " + long[:9000] + "\r\n\r\nHTTP/1.1 200 OK\r\nA: " + long[:9000] + "\r\n\r\n", "connect: the answer to CONNECT has a head of more than 16384 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, asked := answering(t, tt.answer, true)
			through, err := Ask(t.Context(), conn, "s1:7443", nil)
			got := "stands"
			if err != nil {
				got = err.Error()
				conn.Close()
			} else if said, _ := io.ReadAll(through); len(said) > 0 {
				got = fmt.Sprintf("stands, said %q", said)
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if a := asked(); a != "CONNECT s1:7443 s1:7443 map[]" {
				t.Errorf("asked %s", a)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	for _, tt := range []struct {
		target, name, value, want string
	}{
		{"s1:7443", "Weft-Node", "n1", "CONNECT s1:7443 s1:7443 map[Weft-Node:[n1]]"},
		{"[2001:db8::1]:22", "A", "b", "CONNECT [2001:db8::1]:22 [2001:db8::1]:22 map[A:[b]]"},
		{"s1", "A", "b", `connect: "s1" is no HOST:PORT`},
		{"s1:", "A", "b", `connect: "s1:" is no HOST:PORT`},
		{":22", "A", "b", `connect: ":22" is no HOST:PORT`},
		{"s1:22 HTTP/1.1\r\nA: b\r\n\r\n", "A", "b", `connect: "s1:22 HTTP/1.1\r\nA: b\r\n\r\n" is no HOST:PORT`},
		{"u@s1:22", "A", "b", `connect: "u@s1:22" is no HOST:PORT`},
		{"s1:22", "A b", "c", `connect: field "A b" of the request holds what HTTP forbids`},
		{"s1:22", "A", "b\r\nC: d", `connect: field "A" of the request holds what HTTP forbids`},
	} {
		conn, asked := answering(t, "HTTP/1.1 200 OK\r\n\r\n", false)
		_, err := Ask(t.Context(), conn, tt.target, http.Header{tt.name: {tt.value}})
		got := ""
		if err != nil {
			got = err.Error()
			conn.Close()
			asked()
		} else {
			got = asked()
		}
		if got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.target, got, tt.want)
		}
	}
}

// TestSilence: whoever does not answer, or not to the end, is left when the context
// says so, and a refusal is one also without the end of its reason.
func TestSilence(t *testing.T) {
	for _, tt := range []struct{ answer, want string }{
		{"", "connect: no answer to CONNECT s1:7443: context deadline exceeded"},
		{"HTTP/1.1 200 OK\r\n", "connect: no answer to CONNECT s1:7443: context deadline exceeded"},
		{"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 100\r\n\r\nlater", "503 Service Unavailable: later"},
	} {
		synctest.Test(t, func(t *testing.T) {
			conn, _ := answering(t, tt.answer, false)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, err := Ask(ctx, conn, "s1:7443", nil)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if r := (*Refusal)(nil); errors.As(err, &r) && r.Retry != 7*time.Second {
				t.Errorf("asks to wait %v", r.Retry)
			}
			conn.Close()
		})
	}
}

// TestAfterwards: a connection that stands has no deadline left of its making, and
// its writing end can be closed.
func TestAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		go func() {
			_, _ = http.ReadRequest(bufio.NewReader(theirs))
			_, _ = io.WriteString(theirs, "HTTP/1.1 200 OK\r\n\r\nfirst")
			time.Sleep(time.Minute)
			_, _ = io.WriteString(theirs, " second")
			theirs.Close()
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		through, err := Ask(ctx, halves{ours}, "s1:7443", nil)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		said, err := io.ReadAll(iotest.OneByteReader(through))
		if string(said) != "first second" || err != nil {
			t.Errorf("said %q, %v", said, err)
		}
		if err := through.(interface{ CloseWrite() error }).CloseWrite(); !errors.Is(err, errHalf) {
			t.Errorf("CloseWrite: %v", err)
		}
	})
}

var errHalf = errors.New("half closed")

type halves struct{ net.Conn }

func (halves) CloseWrite() error { return errHalf }

func TestRetryAfter(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, " 3 ": 3 * time.Second, "-1": 0, "soon": 0, "99999999": time.Hour, "Wed, 21 Oct 2026 07:28:00 GMT": 0,
	} {
		if got := RetryAfter(http.Header{"Retry-After": {in}}); got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}

// FuzzAnswer: whatever is answered, it is bounded, and what is shown is one line.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\nSSH-2.0"))
	f.Add([]byte("HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 x\r\nRetry-After: 9999999999\r\n\r\n\x1b[2J"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		c := &said{answer: answer}
		rest, err := exchange(c, nil)
		if c.taken > maxHead+maxReason {
			t.Errorf("%d bytes were taken", c.taken)
		}
		if err == nil && !strings.HasSuffix(string(answer[:c.taken]), string(rest)) {
			t.Errorf("kept %q", rest)
		}
		r := (*Refusal)(nil)
		if errors.As(err, &r) && (strings.ContainsAny(r.Error(), "\r\n\x1b") || len(r.Reason) > maxLine || r.Retry < 0 || r.Retry > maxRetry) {
			t.Errorf("refusal %q, %v", r.Error(), r.Retry)
		}
	})
}

// said is a connection that says something and ends.
type said struct {
	net.Conn
	answer []byte
	taken  int
}

func (*said) Write(p []byte) (int, error) { return len(p), nil }

func (s *said) Read(p []byte) (int, error) {
	n := copy(p, s.answer[s.taken:])
	if s.taken += n; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}
