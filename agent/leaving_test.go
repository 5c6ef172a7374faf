package agent

import (
	"fmt"
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
	for _, c := range []struct {
		what  string
		looks []look
		want  string
	}{
		{"none leaves", []look{{0, []intent.Slot{fresh}, away}, {time.Hour, []intent.Slot{fresh}, away}}, "[]"},
		{"it takes a while", []look{{0, []intent.Slot{old, fresh}, away}, {overdue - 1, []intent.Slot{old, fresh}, away}}, "[]"},
		{
			"too long",
			[]look{{0, []intent.Slot{old, fresh}, away}, {overdue, []intent.Slot{old, fresh}, away}},
			"[WireGuard: the old key of n1 in slot 0 is still good: it waits for n4, n5 since 2001-09-09T01:46:40Z -> is the agent there up? weft get nodes; a node that is gone for good: weft delete node n4]",
		},
		{"nobody uses it any more", []look{{0, []intent.Slot{old, fresh}, away}, {overdue, []intent.Slot{old, fresh}, nil}}, "[]"},
		{"it is gone", []look{{0, []intent.Slot{old, fresh}, away}, {overdue, []intent.Slot{fresh}, away}}, "[]"},
		{"the next one has time of its own", []look{
			{0, []intent.Slot{old, fresh}, away},
			{overdue, []intent.Slot{{Slot: 0}, {Slot: 1, Leaving: true}}, away},
		}, "[]"},
	} {
		var l leaving
		for _, look := range c.looks {
			l.see(look.slots, func(uint8) []string { return look.users }, start.Add(look.at))
		}
		var got []string
		for _, p := range l.problems("n1") {
			got = append(got, p.Subject+": "+p.Cause+" -> "+p.Remedy)
		}
		if s := fmt.Sprint(got); s != c.want {
			t.Errorf("%s: %s\nwant %s", c.what, s, c.want)
		}
	}
}
