package push

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/skew"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

func TestReleases(t *testing.T) {
	for _, c := range []struct {
		name     string
		protocol uint32
		told     string
		ended    string
	}{
		{"of before protocols", 0, whole("n1"), ""},
		{"ours", skew.Protocol(), "welcome\n" + whole("n1"), ""},
		{"the next one's", skew.Protocol() + 1, "welcome\n" + whole("n1"), ""},
		{
			"a later one's", skew.Protocol() + 2, "backoff 30 s: agent of release 0.1.0 (protocol 4) is too new for the server of release " + note.Version +
				", which serves protocols 1 to 3; upgrade weft-server first, or put the earlier weft-agent back; the node's data path stays as it is meanwhile",
			"FailedPrecondition: agent of release 0.1.0 (protocol 4) is too new",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFabric(t, nil)
				h := hello("n1", 1)
				h.Protocol = c.protocol
				a := f.join(h)
				expect(t, "told", a.hear(), c.told)
				if got := a.ended(); !strings.HasPrefix(got, c.ended) || c.ended == "" && got != "" {
					t.Errorf("ended with %q, want %q", got, c.ended)
				}
			})
		})
	}
}

// A node that is sent away for its release is a problem until it comes with
// another, and stays what it was to its peers.
func TestReleaseInStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		first := f.join(hello("n1", 1))
		first.hear()
		other := f.join(hello("n2", 2))
		other.hear()
		first.gone()
		h := hello("n1", 1)
		h.Protocol = skew.Protocol() + 9
		f.join(h).hear()
		time.Sleep(time.Minute)
		s, _ := f.hub.Status("n1")
		if got := fmt.Sprint(s.Problems); !strings.Contains(got, "release agent of release 0.1.0 (protocol 11) is too new") {
			t.Errorf("problems: %s", got)
		}
		if got := other.hear(); strings.Contains(got, "delete") {
			t.Errorf("its peer is told\n%s", got)
		}
		f.join(hello("n1", 1)).hear()
		if s, _ := f.hub.Status("n1"); len(s.Problems) > 0 {
			t.Errorf("it came back: %v", s.Problems)
		}
	})
}

// An agent of protocol 1 acknowledges what it holds as soon as it comes, and says
// so once: that must not be lost if it is faster than we are.
func TestEarlyAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		s := &stream{hub: f.hub, node: f.hub.nodeOf("n1")}
		for _, c := range []struct {
			ack, sent, want int64
		}{
			{7, 6, 0}, // it holds what is later than what it was sent
			{7, 7, 7},
			{0, 9, 7},
			{1 << 60, 10, 7}, // never sent
			{10, 10, 10},
		} {
			s.acknowledge(&weftv1.Ack{Epoch: f.hub.Epoch(), Revision: c.ack})
			s.sending(told{revision: c.sent})
			if got := s.node.revision(); got != c.want {
				t.Errorf("%+v: applied %d", c, got)
			}
		}
	})
}
