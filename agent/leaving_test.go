package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// TestLeaving: an old key that pairs keep is a problem after a minute, and names them.
func TestLeaving(t *testing.T) {
	start := time.Unix(1e9, 0)
	old, fresh := intent.Slot{Slot: 0, Leaving: true}, intent.Slot{Slot: 1}
	away := []string{"n4", "n5"}
	type look struct {
		at    time.Duration
		slots []intent.Slot
		users []string
	}
	both := []intent.Slot{old, fresh}
	for _, c := range []struct {
		what  string
		looks []look
		away  []string
		own   bool
		want  string
	}{
		{"none leaves", []look{{0, []intent.Slot{fresh}, away}, {time.Hour, []intent.Slot{fresh}, away}}, away, false, "[]"},
		{"it takes a while", []look{{0, both, away}, {overdue - 1, both, away}}, away, false, "[]"},
		{
			"too long",
			[]look{{0, both, away}, {overdue, both, away}},
			away, false,
			"[WireGuard: the old key of n1 in slot 0 is still good: it waits for n4, n5 since 2001-09-09T01:46:40Z -> is the agent there up? weft get nodes; a node that is gone for good: weft delete node n4]",
		},
		{
			"one is there",
			[]look{{0, both, away}, {overdue, both, away}},
			away[1:], false,
			"[WireGuard: the old key of n1 in slot 0 is still good: it waits for n4, n5 since 2001-09-09T01:46:40Z -> is the agent there up? weft get nodes; a node that is gone for good: weft delete node n5]",
		},
		{
			"they are there",
			[]look{{0, both, away}, {overdue, both, away}},
			nil, false,
			"[WireGuard: the old key of n1 in slot 0 is still good: it waits for n4, n5 since 2001-09-09T01:46:40Z -> what holds it up there? weft describe node n4]",
		},
		{"it is this node's own fault", []look{{0, both, away}, {overdue, both, away}}, nil, true, "[]"},
		{"nobody uses it any more", []look{{0, both, away}, {overdue, both, nil}}, nil, false, "[]"},
		{"it is gone", []look{{0, both, away}, {overdue, []intent.Slot{fresh}, away}}, away, false, "[]"},
		{"the next one has time of its own", []look{
			{0, both, away},
			{overdue, []intent.Slot{{Slot: 0}, {Slot: 1, Leaving: true}}, away},
		}, away, false, "[]"},
	} {
		var l leaving
		for _, look := range c.looks {
			l.see(look.slots, func(uint8) []string { return look.users }, start.Add(look.at))
		}
		l.away, l.own = c.away, c.own
		var got []string
		for _, p := range l.problems("n1") {
			got = append(got, p.Subject+": "+p.Cause+" -> "+p.Remedy)
		}
		if s := fmt.Sprint(got); s != c.want {
			t.Errorf("%s: %s\nwant %s", c.what, s, c.want)
		}
	}
}

// TestWaits: a key that is due waits for those of others, and after a while says so.
func TestWaits(t *testing.T) {
	start := time.Unix(1e9, 0)
	var l leaving
	for _, c := range []struct {
		at     time.Duration
		due    bool
		others []string
		want   string
	}{
		{0, true, nil, ""},
		{0, true, []string{"n1"}, ""},
		{overdue - 1, true, []string{"n1"}, ""},
		{overdue, true, []string{"n1", "n3"}, "the key of n2 is to be changed since 2001-09-09T01:46:40Z, and waits until those of n1, n3 are"},
		{overdue + 1, true, nil, ""},
		{2 * overdue, true, []string{"n1"}, ""},
		{3 * overdue, true, []string{"n1"}, "the key of n2 is to be changed since 2001-09-09T01:47:40Z, and waits until those of n1 are"},
		{3*overdue + 1, false, []string{"n1"}, ""},
	} {
		l.wait(c.due, c.others, start.Add(c.at))
		got := ""
		for _, p := range l.problems("n2") {
			got += p.Cause
		}
		if got != c.want {
			t.Errorf("after %v: %q, want %q", c.at, got, c.want)
		}
	}
}

// TestBusy: who asks for other keys while some are being changed hears whose, and what
// that waits for.
func TestBusy(t *testing.T) {
	old, fresh := intent.Slot{Slot: 0, Leaving: true}, intent.Slot{Slot: 1}
	n := func(n2 ...intent.Slot) intent.Node {
		return intent.Node{Name: "n1", Peers: []intent.Peer{{Name: "n1", Slots: []intent.Slot{old, fresh}}, {Name: "n2", Slots: n2}}}
	}
	for _, c := range []struct {
		node  intent.Node
		own   []intent.Slot
		users [intent.Slots][]string
		want  string
	}{
		{n(fresh), []intent.Slot{old, fresh}, [intent.Slots][]string{{"n4"}}, "the old one of n1 waits for n4; ask again when it has gone"},
		{n(old, fresh), []intent.Slot{fresh}, [intent.Slots][]string{}, "those of n2 first and this node's as well"},
		{n(fresh), []intent.Slot{{Slot: 0}, fresh}, [intent.Slots][]string{{"n4"}}, "keys are being changed already, this node's as well"},
	} {
		if got := busy(c.node, c.own, c.users).Error(); !strings.Contains(got, c.want) {
			t.Errorf("%s; want %s", got, c.want)
		}
	}
}
