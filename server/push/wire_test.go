package push

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/line"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// served is the server's end of a line.
type served struct {
	*line.Conn
	entered chan struct{}
}

func (s *served) Send(m *weftv1.SyncResponse) error { return s.Conn.Send(m) }
func (s *served) Entered()                          { close(s.entered) }
func (s *served) Recv() (*weftv1.SyncRequest, error) {
	m := &weftv1.SyncRequest{}
	return m, s.Receive(m, 1<<20)
}

// lined is an agent that came by a line.
type lined struct {
	t       *testing.T
	conn    *line.Conn
	entered chan struct{}
	ended   chan error // why, as the server has it
}

func (f *fabric) byLine(h *weftv1.Hello) *lined {
	ours, theirs := net.Pipe()
	s := &served{line.New(theirs), make(chan struct{})}
	a := &lined{t: f.t.(*testing.T), conn: line.New(ours), entered: s.entered, ended: make(chan error, 1)}
	go func() {
		err := f.hub.Speak(metadata.NewIncomingContext(context.Background(), metadata.Pairs("certificate", h.GetNode())), s)
		s.End(err)
		a.ended <- err
	}()
	a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Hello{Hello: h}})
	f.t.Cleanup(func() { _ = a.conn.Close() })
	return a
}

func (a *lined) say(m *weftv1.SyncRequest) {
	a.t.Helper()
	if err := a.conn.Send(m); err != nil {
		a.t.Error(err)
	}
	if err := a.conn.Flush(); err != nil {
		a.t.Error(err)
	}
}

// until reads to the Complete of a revision, or to the end.
func (a *lined) until(rev int64) (said []string, end error) {
	reader := &agent{f: &fabric{t: a.t}, held: map[ref]string{}, stage: map[ref]string{}}
	for {
		m := &weftv1.SyncResponse{}
		if err := a.conn.Receive(m, 1<<20); err != nil {
			return said, err
		}
		said = append(said, reader.take(m))
		if reader.last != nil && reader.last.GetRevision() >= rev {
			return said, nil
		}
	}
}

// TestOverALine: an agent that has its connection for itself is let in, told what
// changes, heard, and told why it is cut.
func TestOverALine(t *testing.T) {
	f := newFabric(t, nil)
	n1 := f.byLine(hello("n1", 1))
	if said, err := n1.until(1); err != nil || fmt.Sprint(said) != "[begin set ClusterConfig//default set Node//n1 end complete]" {
		t.Error(said, err)
	}
	<-n1.entered
	rev := f.peer("n2", 2)
	if said, err := n1.until(rev); err != nil || said[len(said)-2] != "set Node//n2" {
		t.Error(said, err)
	}
	n1.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Ack{Ack: &weftv1.Ack{Epoch: "e1", Revision: rev}}})
	for moved := f.hub.progress.next(); ; moved = f.hub.progress.next() {
		if s, _ := f.hub.Status("n1"); s.Applied == rev {
			break
		}
		<-moved
	}
	f.hub.Cut("n1", "revoked")
	if _, err := n1.until(1 << 60); status.Code(err) != codes.PermissionDenied || status.Convert(err).Message() != "revoked" {
		t.Error(err)
	}
	_ = n1.conn.Close()
	<-n1.ended
}

// TestTheNewestLineWins: and the older hears of it; so do all when the server stops.
func TestTheNewestLineWins(t *testing.T) {
	f := newFabric(t, nil)
	first := f.byLine(hello("n1", 1))
	if _, err := first.until(1); err != nil {
		t.Fatal(err)
	}
	second := f.byLine(hello("n1", 1))
	if _, err := first.until(1 << 60); status.Code(err) != codes.Aborted {
		t.Errorf("the older stream ended with %v", err)
	}
	if _, err := second.until(1); err != nil {
		t.Fatal(err)
	}
	go f.stop()
	if _, err := second.until(1 << 60); status.Code(err) != codes.Unavailable {
		t.Errorf("when the server stopped: %v", err)
	}
	_, _ = <-first.ended, <-second.ended
}

// TestALineThatIsNone: what does not say hello, or nothing, is not kept.
func TestALineThatIsNone(t *testing.T) {
	f := newFabric(t, func(c *Config) { c.Dead = 50 * time.Millisecond })
	for _, tt := range []struct {
		name  string
		first *weftv1.SyncRequest
		want  codes.Code
	}{
		{"no hello", &weftv1.SyncRequest{}, codes.InvalidArgument},
		{"another's name", &weftv1.SyncRequest{Message: &weftv1.SyncRequest_Hello{Hello: hello("n2", 2)}}, codes.PermissionDenied},
		{"nothing", nil, codes.DeadlineExceeded},
	} {
		ours, theirs := net.Pipe()
		s := &served{line.New(theirs), make(chan struct{})}
		go func() {
			s.End(f.hub.Speak(metadata.NewIncomingContext(context.Background(), metadata.Pairs("certificate", "n1")), s))
		}()
		a := &lined{t: t, conn: line.New(ours)}
		if tt.first != nil {
			a.say(tt.first)
		}
		if _, err := a.until(1); status.Code(err) != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		_ = ours.Close()
	}
}
