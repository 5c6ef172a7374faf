package server

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestGreetingsAreFew: a client waits for a place and is sent away when it waited
// for long; one that does not go on loses its place.
func TestGreetingsAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &port{greetings: make(chan struct{}, 2)}
		first := &greeting{}
		for _, g := range []*greeting{first, {}} {
			if err := p.place(t.Context(), g); err != nil {
				t.Fatal(err)
			}
		}
		first.done()
		first.done() // twice is once
		if err := p.place(t.Context(), &greeting{}); err != nil || len(p.greetings) != 2 {
			t.Errorf("%v, %d places taken", err, len(p.greetings))
		}
		start := time.Now()
		if err := p.place(t.Context(), &greeting{}); err != nil || time.Since(start) != greetingHeld {
			t.Errorf("after %v: %v; want one that stalls to lose its place after %v", time.Since(start), err, greetingHeld)
		}
		time.Sleep(greetingHeld)
		synctest.Wait()
		if len(p.greetings) != 0 {
			t.Errorf("%d places taken", len(p.greetings))
		}
		p.greetings <- struct{}{}
		p.greetings <- struct{}{} // for good
		if err := p.place(t.Context(), &greeting{}); !errors.Is(err, errCrowded) {
			t.Error(err)
		}
	})
}
