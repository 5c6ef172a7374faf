package tunnel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// peer is an end that sends what it likes.
type peer struct {
	t  testing.TB
	ws *websocket.Conn
}

// against makes a session whose other end is a peer; the tunnel's is the server.
func against(t testing.TB, c Config) (*peer, *Conn) {
	t.Helper()
	near, far := sockets(t, plain)
	up := upgrade(t, far, c)
	dialer := websocket.Dialer{
		Subprotocols:   []string{Protocol},
		NetDialContext: func(context.Context, string, string) (net.Conn, error) { return near, nil },
	}
	ws, _, err := dialer.Dial("ws://weft/v1/tunnel", nil)
	if err != nil {
		t.Fatal(err)
	}
	conn := <-up
	t.Cleanup(func() {
		ws.Close()
		conn.Close()
		if s := conn.Stats(); s.Held != 0 || s.Promised != 0 || s.Streams != 0 {
			t.Errorf("left: %+v", s)
		}
	})
	return &peer{t, ws}, conn
}

func (p *peer) send(frames ...[]byte) {
	p.t.Helper()
	if err := p.ws.WriteMessage(websocket.BinaryMessage, bytes.Join(frames, nil)); err != nil {
		p.t.Fatal(err)
	}
}

// frames returns what comes, one line a frame, until one begins with a prefix. Pings
// are left out.
func (p *peer) until(prefix string) string {
	p.t.Helper()
	var lines []string
	for {
		_, b, err := p.ws.ReadMessage()
		if err != nil {
			return strings.Join(append(lines, "end"), "\n")
		}
		for len(b) > 0 {
			h, err := parseHeader(b)
			if err != nil {
				p.t.Fatal(err)
			}
			payload := b[headerSize : headerSize+h.length]
			b = b[headerSize+h.length:]
			if h.kind == kindPing {
				continue
			}
			lines = append(lines, describe(h, payload))
			if strings.HasPrefix(lines[len(lines)-1], prefix) {
				return strings.Join(lines, "\n")
			}
		}
	}
}

func describe(h header, b []byte) string {
	name := [...]string{"data", "open", "accept", "refuse", "window", "fin", "reset", "ping", "pong", "goaway", "datagram"}[h.kind]
	switch h.kind {
	case kindRefuse, kindReset, kindGoAway:
		r := parseReason(b)
		return strings.TrimSpace(fmt.Sprintf("%s %d %s: %s", name, h.stream, r.Code, r.Reason))
	case kindAccept, kindWindow:
		return fmt.Sprintf("%s %d %d", name, h.stream, binary.BigEndian.Uint32(b))
	}
	return fmt.Sprintf("%s %d %q", name, h.stream, b)
}

func rawOpen(id uint32, target string) []byte {
	return appendFrame(nil, kindOpen, id, []byte{0, 0, 0, 0, 0, 4, 0, 0}, []byte(target))
}
func rawData(id uint32, n int) []byte { return appendFrame(nil, kindData, id, make([]byte, n)) }
func raw(k kind, id uint32, payload string) []byte {
	return appendFrame(nil, k, id, []byte(payload))
}

// accepting answers yes to all, and returns the streams.
func accepting(c *Conn) <-chan *Stream {
	streams := make(chan *Stream, 100)
	go func() {
		for {
			r, err := c.Accept(context.Background())
			if err != nil {
				return
			}
			if s, err := r.Accept(); err == nil {
				streams <- s
			}
		}
	}()
	return streams
}

func TestViolationsOfAStream(t *testing.T) {
	for _, test := range []struct {
		name   string
		frames [][]byte
		want   string
	}{
		{"more than the window", [][]byte{rawData(1, 65536), rawData(1, 65536), rawData(1, 65536), rawData(1, 65536), rawData(1, 1)}, "reset 1 violation: 1 bytes more than the window"},
		{"data after the end", [][]byte{raw(kindFin, 1, ""), rawData(1, 1)}, "reset 1 violation: data after the end"},
		{"nothing after the end", [][]byte{raw(kindFin, 1, ""), rawData(1, 0)}, "reset 1 violation: data after the end"},
		{"two ends", [][]byte{raw(kindFin, 1, ""), raw(kindFin, 1, "")}, "reset 1 violation: ended when it was not open"},
		{"accepting one's own", [][]byte{raw(kindAccept, 1, "\x00\x00\x00\x01")}, "reset 1 violation: accepted twice"},
		{"refusing one's own", [][]byte{raw(kindRefuse, 1, "\x01")}, "reset 1 violation: refused when it was open"},
		{"a window too large", [][]byte{raw(kindWindow, 1, "\x7f\xff\xff\xff")}, "reset 1 violation: a window that cannot be"},
		{"a window far too large", [][]byte{raw(kindWindow, 1, "\xff\xff\xff\xff")}, "reset 1 violation: a window that cannot be"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, c := against(t, Config{})
			streams := accepting(c)
			p.send(rawOpen(1, "x"), rawOpen(3, "y"))
			one, three := <-streams, <-streams
			if one.id == 3 {
				one, three = three, one
			}
			p.until("accept 3")
			p.send(test.frames...)
			if got := p.until("reset"); got != test.want {
				t.Errorf("got %q\nwant %q", got, test.want)
			}
			var reset *ResetError
			if _, err := io.Copy(io.Discard, one); !errors.As(err, &reset) || reset.Code != Violation || reset.Remote {
				t.Errorf("the application got %v", err)
			}
			p.send(appendFrame(nil, kindData, 3, []byte("untouched"))) // the other stream
			b := make([]byte, 9)
			if _, err := io.ReadFull(three, b); err != nil || string(b) != "untouched" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

func TestViolationsBeforeAnAnswer(t *testing.T) {
	for _, test := range []struct {
		name   string
		frames [][]byte
		want   string
	}{
		{"data", [][]byte{rawData(1, 1)}, "reset 1 violation: data before the stream was open"},
		{"end", [][]byte{raw(kindFin, 1, "")}, "reset 1 violation: ended when it was not open"},
		{"window", [][]byte{raw(kindWindow, 1, "\x00\x00\x00\x01")}, "reset 1 violation: a window that cannot be"},
		{"accept", [][]byte{raw(kindAccept, 1, "\x00\x00\x00\x01")}, "reset 1 violation: accepted twice"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, c := against(t, Config{})
			p.send(rawOpen(1, "x"))
			r, err := c.Accept(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			p.send(test.frames...)
			if got := p.until("reset"); got != test.want {
				t.Errorf("got %q\nwant %q", got, test.want)
			}
			<-r.Context().Done()
			if _, err := r.Accept(); err == nil {
				t.Error("accepted after that")
			}
		})
	}
}

func TestViolationsOfASession(t *testing.T) {
	long := make([]byte, headerSize)
	binary.BigEndian.PutUint32(long, uint32(kindData)<<24|maxData+1)
	binary.BigEndian.PutUint32(long[4:], 1)
	for _, test := range []struct {
		name   string
		frames [][]byte
		want   string
	}{
		{"half a header", [][]byte{rawOpen(1, "x"), {0, 0, 0}}, "unexpected EOF"},
		{"half a frame", [][]byte{rawOpen(1, "x"), rawData(1, 100)[:50]}, "unexpected EOF"},
		{"too long", [][]byte{rawOpen(1, "x"), long}, "a frame of kind 0 has 65537 bytes"},
		{"a target too long", [][]byte{rawOpen(1, strings.Repeat("x", MaxTarget+1))}, "a frame of kind 1 has 4105 bytes"},
		{"an open too short", [][]byte{raw(kindOpen, 1, "1234567")}, "a frame of kind 1 has 7 bytes"},
		{"a window too short", [][]byte{raw(kindWindow, 1, "123")}, "a frame of kind 4 has 3 bytes"},
		{"an end with bytes", [][]byte{raw(kindFin, 1, "x")}, "a frame of kind 5 has 1 bytes"},
		{"a reset without a code", [][]byte{raw(kindReset, 1, "")}, "a frame of kind 6 has 0 bytes"},
		{"a ping too long", [][]byte{raw(kindPing, 0, "123456789")}, "a frame of kind 7 has 9 bytes"},
		{"a ping of a stream", [][]byte{raw(kindPing, 1, "12345678")}, "a frame of kind 7 names stream 1"},
		{"data of the session", [][]byte{raw(kindData, 0, "x")}, "a frame of kind 0 names stream 0"},
		{"a datagram too long", [][]byte{raw(kindDatagram, 0, strings.Repeat("x", maxDatagram+1))}, "a frame of kind 10 has 16385 bytes"},
		{"a stream of ours", [][]byte{rawOpen(2, "x")}, "opened stream 2 after 0"},
		{"a stream again", [][]byte{rawOpen(1, "x"), rawOpen(1, "x")}, "opened stream 1 after 1"},
		{"a stream out of order", [][]byte{rawOpen(5, "x"), rawOpen(3, "x")}, "opened stream 3 after 5"},
		{"a stream that never was", [][]byte{rawOpen(1, "x"), rawData(3, 1)}, "names stream 3, which was never opened"},
		{"one of ours that never was", [][]byte{rawData(2, 1)}, "names stream 2, which was never opened"},
		{"leaving", [][]byte{raw(kindGoAway, 0, "\x0a")}, "the other end closed the session"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, c := against(t, Config{})
			p.ws.WriteMessage(websocket.BinaryMessage, bytes.Join(test.frames, nil)) // may fail: nobody reads it to the end
			<-c.Done()
			if err := c.Err(); !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestText(t *testing.T) {
	p, c := against(t, Config{})
	p.ws.WriteMessage(websocket.TextMessage, []byte("hello"))
	<-c.Done()
}

func TestWebsocketPingsAreNotAnswered(t *testing.T) {
	p, _ := against(t, Config{})
	p.ws.SetPongHandler(func(string) error {
		t.Error("the loop that reads has written")
		return nil
	})
	for range 1000 {
		p.ws.WriteMessage(websocket.PingMessage, []byte("x"))
	}
	p.send(raw(kindPing, 0, "12345678"))
	if got := p.until("pong"); got != `pong 0 "12345678"` {
		t.Error(got)
	}
}

func TestUnknownFramesAreSkipped(t *testing.T) {
	p, c := against(t, Config{})
	p.send(raw(200, 7, "what a later version may say"), raw(11, 0, ""), raw(kindPing, 0, "12345678"))
	p.until("pong")
	if s := c.Stats(); s.Strays != 2 {
		t.Errorf("%+v", s)
	}
}

func TestFramesForStreamsThatAreGoneAreSkipped(t *testing.T) {
	p, c := against(t, Config{})
	p.send(rawOpen(1, "x"), raw(kindReset, 1, "\x09"), rawData(1, 65536), raw(kindFin, 1, ""), raw(kindWindow, 1, "\xff\xff\xff\xff"),
		raw(kindReset, 1, "\x09"), raw(kindPing, 0, "12345678"))
	p.until("pong")
	if s := c.Stats(); s.Streams != 0 || s.Strays != 4 {
		t.Errorf("%+v", s)
	}
}

// A peer that opens streams without end, and reads the answers.
func TestAMillionOpens(t *testing.T) {
	const limit, batches, each = 100, 1000, 1000
	p, c := against(t, Config{MaxStreams: limit})
	id := uint32(1)
	for batch := range batches {
		var b []byte
		for range each {
			b = append(b, rawOpen(id, "x")...)
			id += 2
		}
		p.send(b)
		want := each
		if batch == 0 {
			want -= limit
		}
		for want > 0 {
			_, b, err := p.ws.ReadMessage()
			if err != nil {
				t.Fatal(err)
			}
			want -= bytes.Count(b, []byte("this session has 100 streams open"))
		}
	}
	if s := c.Stats(); s.Streams != limit || s.Refused != batches*each-limit {
		t.Errorf("%+v", s)
	}
}

// The same, but the answers are not read.
func TestAMillionOpensUnread(t *testing.T) {
	p, c := against(t, Config{MaxStreams: 100})
	for id := uint32(1); ; id += 2 {
		if p.ws.WriteMessage(websocket.BinaryMessage, rawOpen(id, "x")) != nil {
			break
		}
	}
	<-c.Done()
	if err := c.Err(); !strings.Contains(err.Error(), "does not read the answers") && !errors.Is(err, ErrDead) {
		t.Error(err)
	}
}

// Opening and giving up at once leaves nothing behind while nobody accepts.
func TestOpenAndGiveUp(t *testing.T) {
	const limit = 10
	p, c := against(t, Config{MaxStreams: limit})
	for id := uint32(1); id < 2000; id += 2 {
		p.send(rawOpen(id, "x"), raw(kindReset, id, "\x08"))
	}
	p.send(raw(kindPing, 0, "12345678"))
	p.until("pong")
	if s := c.Stats(); s.Streams != 0 || s.Promised != 0 {
		t.Errorf("%+v", s)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.accepts.list); n > limit {
		t.Errorf("%d requests wait that nobody waits for", n)
	}
}

// A peer that sends up to every window, a byte a frame: memory stays near to what
// was sent.
func TestManySmallFrames(t *testing.T) {
	p, c := against(t, Config{})
	streams := accepting(c)
	p.send(rawOpen(1, "x"))
	s := <-streams
	one := rawData(1, 1)
	for range 100 {
		p.send(bytes.Repeat(one, 1000))
	}
	p.send(raw(kindPing, 0, "12345678"))
	p.until("pong")
	c.mu.Lock()
	kept := 0
	for piece := s.in.head; piece != nil; piece = piece.next {
		kept += len(piece.buf)
	}
	c.mu.Unlock()
	if kept > 120_000 {
		t.Errorf("%d bytes are kept for 100,000", kept)
	}
}

// When everybody uses what he was promised and nobody reads, the largest gives way.
func TestBudgetIsNeverExceeded(t *testing.T) {
	budget := NewBudget(1 << 20)
	p, c := against(t, Config{Budget: budget})
	streams := accepting(c)
	for id := uint32(1); id < 2000; id += 2 {
		p.send(rawOpen(id, "x"))
		s := <-streams // its window becomes smaller and smaller
		for left := s.granted; left > 0; left -= 4096 {
			p.send(rawData(id, 4096))
			if held := budget.Held(); held > budget.Limit() {
				t.Fatalf("%d bytes are held of %d", held, budget.Limit())
			}
		}
	}
	p.send(raw(kindPing, 0, "12345678"))
	if got := p.until("pong"); !strings.Contains(got, "overloaded: the budget of the process, 1024 KiB, is used up") {
		t.Error("no stream gave way")
	}
	if s := c.Stats(); s.Shed == 0 || s.Streams == 0 {
		t.Errorf("%+v", s)
	}
}

// Sessions whose readers stall use up what a process may hold, and lose streams for
// it; one whose readers read loses none.
func TestStalledSessionsHurtNoOther(t *testing.T) {
	budget := NewBudget(4 << 20)
	config := Config{Budget: budget, SessionBudget: 1 << 20}
	var ends []*Conn
	for range 6 {
		p, c := against(t, config)
		ends = append(ends, c)
		streams := accepting(c)
		for id := uint32(1); id < 100; id += 2 {
			p.send(rawOpen(id, "x"))
			s := <-streams
			for left := s.granted; left > 0; left -= 4096 {
				p.send(rawData(id, int(min(left, 4096))))
			}
		}
		p.send(raw(kindPing, 0, "12345678"))
		p.until("pong")
		if held := budget.Held(); held > budget.Limit() {
			t.Errorf("%d bytes are held of %d", held, budget.Limit())
		}
	}
	shed := uint64(0)
	for _, c := range ends {
		shed += c.Stats().Shed
	}
	if shed == 0 {
		t.Error("the budget was never used up")
	}
	near, far := sockets(t, plain)
	from, to := join(t, near, far, Config{}, config)
	for range 5 {
		a, z := open(t, from, to)
		sent := noise(2 << 20)
		go func() {
			a.Write(sent)
			a.Close()
		}()
		if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes came of %d, or others: %v", len(got), len(sent), err)
		}
		z.Close()
	}
	if s := to.Stats(); s.Shed != 0 {
		t.Errorf("%+v", s)
	}
}

func TestHandshakesThatFail(t *testing.T) {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/busy":
			w.Header().Set("Retry-After", "7")
			http.Error(w, "later", http.StatusServiceUnavailable)
		case "/other":
			u := websocket.Upgrader{}
			if ws, err := u.Upgrade(w, r, nil); err == nil {
				ws.Close()
			}
		default:
			if c, err := Upgrade(w, r, Config{}); err == nil {
				c.Close()
			}
		}
	})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(ln)
	defer server.Close()
	for _, test := range []struct {
		path, want string
		header     http.Header
		status     int
	}{
		{"/busy", "tunnel: handshake with ws://weft/busy: the other end answered 503 Service Unavailable", nil, 503},
		{"/other", `tunnel: handshake with ws://weft/other: the other end speaks "", this one weft.tunnel.v1`, nil, 101},
		{"/", "tunnel: handshake with ws://weft/: the other end answered 403 Forbidden", http.Header{"Origin": {"https://evil"}}, 403},
	} {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, resp, err := Dial(context.Background(), conn, "ws://weft"+test.path, test.header, Config{})
		if err == nil || err.Error() != test.want || resp.StatusCode != test.status {
			t.Errorf("%s: %v", test.path, err)
		}
		if test.status == 503 && resp.Header.Get("Retry-After") != "7" {
			t.Error("Retry-After is lost")
		}
	}
	request, err := http.NewRequest("GET", "http://"+ln.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{
		"Connection": {"upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
		"Sec-Websocket-Protocol": {"weft.tunnel.v9"},
	}
	resp, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("another version was answered %s", resp.Status)
	}
	http.DefaultClient.CloseIdleConnections()
}
