package tunnels

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestOneToEachServer(t *testing.T) {
	in(t, "s1:7443 s2:7443", func(w *world, tt *Tunnels) {
		w.expect(t, "at first", text(tt.List()), "s1:7443 up, s2:7443 up")
		w.change(func() { w.known = []string{"s2:7443", "s3:7443"}; w.peers["s3:7443"] = "key of s3:7443" })
		w.told()
		tt.Kick()
		synctest.Wait()
		w.expect(t, "s3 for s1", text(tt.List()), "s2:7443 up, s3:7443 up")
		time.Sleep(drainGrace)
		synctest.Wait()
		var open int
		w.change(func() {
			for _, c := range w.conns {
				if c.err == nil {
					open++
				}
			}
		})
		if open != 2 {
			t.Errorf("%d are open", open)
		}
	})
}

func TestLostAndFound(t *testing.T) {
	in(t, "s1:7443", func(w *world, tt *Tunnels) {
		w.conn(1).die(errors.New("silent"))
		synctest.Wait()
		w.expect(t, "lost", text(tt.List()), "s1:7443 down: silent")
		time.Sleep(firstPause)
		w.expect(t, "after a second", w.told(), "open 1 to s1:7443, end 1, open 2 to s1:7443")
		if c := tt.Counts(); c.Opened != 2 || c.Ended["silent"] != 1 {
			t.Errorf("counts %+v", c)
		}
	})
}

// TestAServerIsAway: it is asked less and less often, at least every 15 s, and at
// once when it was heard of.
func TestAServerIsAway(t *testing.T) {
	in(t, "s1:7443", func(w *world, tt *Tunnels) {
		w.change(func() { w.peers["s1:7443"] = "" })
		w.conn(1).die(errors.New("reset"))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		w.change(func() {
			tries := w.tries["s1:7443"]
			if n := len(tries); n < 40 || n > 100 {
				t.Errorf("asked %d times in 10 min", n)
			}
			for i := range tries[1:] {
				if gap := tries[i+1] - tries[i]; gap > mostPause {
					t.Errorf("asked after %v, then after %v", tries[i], tries[i+1])
				}
			}
			w.peers["s1:7443"] = "key of s1:7443"
		})
		w.expect(t, "away", text(tt.List()), "s1:7443 down: connection refused")
		tt.Alive("s1:7443")
		synctest.Wait()
		w.expect(t, "heard of", text(tt.List()), "s1:7443 up")
	})
}

// TestAnswers: what a server answers, what is shown of it, and how long until it is
// asked again.
func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		state State
		least time.Duration
		most  time.Duration
	}{
		{"knows no tunnels", answer(http.StatusNotFound, 0), None, 10 * time.Minute, 13 * time.Minute},
		{"says when", answer(http.StatusServiceUnavailable, 20*time.Second), Down, 20 * time.Second, 25 * time.Second},
		{"is busy", answer(http.StatusTooManyRequests, 0), Down, 0, time.Second},
		{"says at once, which is too soon for all of them", answer(http.StatusServiceUnavailable, time.Nanosecond), Down, time.Second, 2 * time.Second},
		{"does not know the node", answer(http.StatusForbidden, 0), Refused, 30 * time.Second, 40 * time.Second},
		{"another has the name", answer(http.StatusConflict, 12*time.Second), Refused, 12 * time.Second, 15 * time.Second},
		{"speaks another version", answer(http.StatusUpgradeRequired, 0), Refused, 30 * time.Second, 40 * time.Second},
		{"a proxy says no", said{}, Refused, 30 * time.Second, 40 * time.Second},
		{"something else", errors.New("cut"), Down, 0, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, "s1:7443")
			w.refuse["key of s1:7443"] = tt.err
			ts := w.tunnels()
			ctx, cancel := context.WithCancel(t.Context())
			defer synctest.Wait()
			defer cancel()
			go func() { _ = ts.Run(ctx) }()
			synctest.Wait()
			shown := ts.List()[0]
			if wait := time.Until(shown.Next); shown.State != tt.state || !errors.Is(shown.Err, tt.err) || wait < tt.least || wait > tt.most {
				t.Errorf("%s: %s, again in %v", tt.name, text(ts.List()), wait)
			}
			w.change(func() { w.refuse = map[string]error{} })
			time.Sleep(time.Until(shown.Next))
			synctest.Wait()
			w.expect(t, tt.name+", and then not", text(ts.List()), "s1:7443 up")
		})
	}
}

type said struct{}

func (said) Error() string { return "407" }
func (said) Decided() bool { return true }

// TestAServerOfTheLastRelease: it is no failure, and found out soon when it was
// upgraded.
func TestAServerOfTheLastRelease(t *testing.T) {
	in(t, "s1:7443", func(w *world, tt *Tunnels) {
		w.change(func() { w.refuse["key of s1:7443"] = answer(http.StatusNotFound, 0) })
		w.conn(1).die(errors.New("reset"))
		time.Sleep(time.Hour)
		synctest.Wait()
		w.change(func() {
			if n := len(w.tries["s1:7443"]); n < 5 || n > 8 {
				t.Errorf("asked %d times in an hour", n)
			}
			w.refuse = map[string]error{}
		})
		tt.Alive("s1:7443") // its stream ended and began
		synctest.Wait()
		w.expect(t, "upgraded", text(tt.List()), "s1:7443 up")
	})
}

// TestANewCertificate: another tunnel is opened, then the one before takes no more
// streams, and ends with its last.
func TestANewCertificate(t *testing.T) {
	in(t, "s1:7443", func(w *world, tt *Tunnels) {
		w.conn(1).use(1)
		w.told()
		tt.Renewed()
		time.Sleep(moveWithin)
		w.expect(t, "renewed", w.told(), "open 2 to s1:7443, drain 1")
		w.expect(t, "shown", text(tt.List()), "s1:7443 up (1 on the one before)")
		time.Sleep(10 * time.Minute)
		w.expect(t, "its stream goes on", w.told(), "")
		w.conn(1).use(-1)
		w.expect(t, "its last stream ended", w.told(), "end 1")
		if c := tt.Counts(); c.Ended["renewed"] != 1 {
			t.Errorf("counts %+v", c)
		}
	})
}

// TestANewCertificateThatDoesNotHelp: what stands goes on while the server does not
// take the new one.
func TestANewCertificateThatDoesNotHelp(t *testing.T) {
	in(t, "s1:7443", func(w *world, tt *Tunnels) {
		w.change(func() { w.refuse["key of s1:7443"] = errors.New("not yet") })
		w.told()
		tt.Renewed()
		time.Sleep(time.Minute)
		w.expect(t, "not taken", w.told(), "")
		w.expect(t, "shown", text(tt.List()), "s1:7443 up: not yet")
		w.change(func() { w.refuse = map[string]error{} })
		time.Sleep(mostPause + drainGrace)
		w.expect(t, "taken", w.told(), "open 2 to s1:7443, drain 1, end 1")
		w.expect(t, "shown", text(tt.List()), "s1:7443 up")
	})
}

// TestOldOnesEnd: streams without end do not keep a tunnel beyond its certificate,
// nor beyond an hour, nor more than four.
func TestOldOnesEnd(t *testing.T) {
	in(t, "s1:7443", func(w *world, tt *Tunnels) {
		w.conn(1).use(1)
		w.change(func() { w.until = time.Now().Add(20 * time.Minute) })
		tt.Renewed()
		time.Sleep(moveWithin)
		w.conn(2).use(1)
		tt.Renewed()
		time.Sleep(moveWithin)
		w.told()
		time.Sleep(20 * time.Minute)
		w.expect(t, "the certificate ended", w.told(), "end 2")
		time.Sleep(40 * time.Minute)
		w.expect(t, "after an hour", w.told(), "end 1")
		w.change(func() { w.until = time.Time{} })
		for n := 3; n < 8; n++ {
			w.conn(n).use(1)
			tt.Renewed()
			time.Sleep(moveWithin)
		}
		synctest.Wait()
		w.expect(t, "four", text(tt.List()), "s1:7443 up (4 on the one before)")
		for n := 4; n < 8; n++ {
			if w.conn(n).Err() != nil {
				t.Errorf("tunnel %d ended", n)
			}
		}
	})
}

// TestTheServerDrains: a new one is opened, what is open goes on.
func TestTheServerDrains(t *testing.T) {
	in(t, "s1:7443", func(w *world, tt *Tunnels) {
		w.conn(1).use(1)
		w.told()
		w.conn(1).goAway()
		time.Sleep(firstPause)
		w.expect(t, "drained", w.told(), "drain 1, open 2 to s1:7443")
		w.expect(t, "shown", text(tt.List()), "s1:7443 up (1 on the one before)")
	})
}

// TestTheAddressIsGone: nothing will be heard on it, so another is opened at once.
func TestTheAddressIsGone(t *testing.T) {
	in(t, "s1:7443", func(w *world, tt *Tunnels) {
		w.told()
		tt.Moved(func(a netip.Addr) bool { return a == netip.MustParseAddr("10.0.0.11") })
		w.expect(t, "still there", w.told(), "")
		tt.Moved(func(netip.Addr) bool { return false })
		w.expect(t, "gone", w.told(), "end 1, open 2 to s1:7443")
	})
}

// TestTwoNamesOfOneServer: it gets one tunnel, whichever name was first, and the
// other name takes over when that is lost.
func TestTwoNamesOfOneServer(t *testing.T) {
	in(t, "s1:7443", func(w *world, tt *Tunnels) {
		w.change(func() { w.known = []string{"lb:7443", "s1:7443"}; w.peers["lb:7443"] = "key of s1:7443" })
		tt.Kick()
		synctest.Wait()
		w.expect(t, "one", text(tt.List()), "lb:7443 same as s1:7443, s1:7443 up")
		time.Sleep(time.Hour)
		w.expect(t, "in peace", w.told(), "open 1 to s1:7443")
		w.change(func() { w.peers["s1:7443"] = "" })
		w.conn(1).die(errors.New("reset"))
		time.Sleep(time.Minute)
		w.expect(t, "taken over", w.told(), "end 1, open 2 to s1:7443")
		w.expect(t, "by the other name", text(tt.List()), "lb:7443 up, s1:7443 down: connection refused")
		w.change(func() { w.peers["s1:7443"] = "key of s1:7443" })
		time.Sleep(time.Minute)
		w.expect(t, "back", text(tt.List()), "lb:7443 up, s1:7443 same as lb:7443")
		w.expect(t, "in peace", w.told(), "")
	})
}

// TestStop: streams have a moment to end by themselves.
func TestStop(t *testing.T) {
	for _, tt := range []struct {
		name string
		ends time.Duration // of the stream; 0: there is none
		want time.Duration
	}{
		{"idle", 0, 0},
		{"a stream that ends", time.Second, time.Second},
		{"a stream without end", time.Hour, stopWithin},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, "s1:7443", "s2:7443")
			ts := w.tunnels()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- ts.Run(ctx) }()
			c := w.conn(1)
			if tt.ends > 0 {
				c.use(1)
				end := time.AfterFunc(tt.ends, func() { c.use(-1) })
				defer end.Stop()
			}
			began := time.Now()
			cancel()
			<-done
			if took := time.Since(began); took != tt.want {
				t.Errorf("%s: took %v, want %v", tt.name, took, tt.want)
			}
		})
	}
}

// TestStopWhileReaching: a server that does not answer holds nobody up.
func TestStopWhileReaching(t *testing.T) {
	in(t, "s1:7443", func(w *world, tt *Tunnels) {
		w.change(func() { w.hangs["s1:7443"] = true })
		w.conn(1).die(errors.New("reset"))
		time.Sleep(firstPause)
		synctest.Wait()
	})
}
