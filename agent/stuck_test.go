package agent

import (
	"strings"
	"testing"
	"time"
)

// TestStuck: the end with the lower name makes new keys at once, the other when that
// did not help, and neither again and again.
func TestStuck(t *testing.T) {
	start := time.Unix(1e9, 0)
	for _, c := range []struct {
		what, self string
		looks      string // SECOND:PEERS, each a look
		wants      string // the seconds at which new keys are wanted
	}{
		{"nobody", "n1", "0: 5: 60:", ""},
		{"the lower name", "n1", "0: 5:n2 6:n2 7:n2", "5"},
		{"the higher name yields", "n2", "0: 5:n1 10:n1 24:n1", ""},
		{"and acts if that did not help", "n2", "5:n1 24:n1 25:n1 26:n1", "25"},
		{"it was mended meanwhile", "n2", "5:n1 24: 25:n1 26:n1", ""},
		{"many peers, one of a higher name", "n2", "5:n1,n3", "5"},
		{"once in a while", "n1", "5:n2 300:n2 604:n2 605:n2", "5 605"},
		{"again after a while", "n1", "5:n2 30: 100:n2 700:n2", "5 700"},
	} {
		var s stuck
		var got []string
		for _, look := range strings.Fields(c.looks) {
			at, peers, _ := strings.Cut(look, ":")
			second, err := time.ParseDuration(at + "s")
			if err != nil {
				t.Fatal(err)
			}
			if s.see(c.self, strings.FieldsFunc(peers, func(r rune) bool { return r == ',' }), start.Add(second)) {
				got = append(got, at)
			}
		}
		if s := strings.Join(got, " "); s != c.wants {
			t.Errorf("%s: new keys at %q, want %q", c.what, s, c.wants)
		}
	}
}

// TestStuckIsTold: who, why and what to do.
func TestStuckIsTold(t *testing.T) {
	s := stuck{peers: []string{"n2", "n3", "n4", "n5"}}
	ps := s.problems("n1")
	if len(ps) != 1 || !strings.HasPrefix(ps[0].Cause, "no tunnel to n2, n3, n4 and 1 more: ") || !strings.Contains(ps[0].Remedy, "weft rotate keys n1") {
		t.Error(ps)
	}
	if ps := (&stuck{}).problems("n1"); len(ps) != 0 {
		t.Error(ps)
	}
}
