package mesh

import (
	"slices"
	"testing"
	"time"
)

// A pair whose way is dead and that has no other is silent, and not for a moment only.
func TestSilent(t *testing.T) {
	w, a, _ := two(t, "public", "public")
	w.run(20 * time.Second)
	if got := a.m.Summary().Silent; len(got) > 0 {
		t.Fatalf("silent while all is well: %v", got)
	}
	w.sever("a", "b", "all")
	w.run(silentAfter / 2)
	if got := a.m.Summary().Silent; len(got) > 0 {
		t.Errorf("silent at once: %v", got)
	}
	w.run(3 * silentAfter)
	if got := a.m.Summary().Silent; !slices.Equal(got, []string{"b"}) {
		t.Errorf("silent: %v, want b", got)
	}
}

// A peer whose agent is away is unheard, though its kernel answers; one that is there, or
// has just come, is not.
func TestUnheard(t *testing.T) {
	w, a, b := two(t, "public", "public")
	w.run(2 * unheardAfter)
	if got := a.m.Summary().Unheard; len(got) > 0 {
		t.Errorf("unheard while all is well: %v", got)
	}
	b.dead = true
	w.run(unheardAfter / 2)
	if got := a.m.Summary().Unheard; len(got) > 0 {
		t.Errorf("unheard at once: %v", got)
	}
	w.run(unheardAfter)
	if s := a.m.Summary(); !slices.Equal(s.Unheard, []string{"b"}) || len(s.Silent) > 0 {
		t.Errorf("unheard: %v, silent: %v; want b, and nobody", s.Unheard, s.Silent)
	}
}
