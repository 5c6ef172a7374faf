package tunnels

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/weft-net/weft/proto/connect"
)

// Pauses before a server is tried again.
const (
	firstPause   = time.Second      // at most; doubled with each failure
	mostPause    = 15 * time.Second // of a server that does not answer
	seldom       = 10 * time.Minute // of one that knows no tunnels
	samePause    = 5 * time.Minute  // of another address of one that has a tunnel
	refusedPause = 30 * time.Second // of one that says no
	leastRetry   = time.Second      // whatever a server asks
)

// sameError says that a server has a tunnel already, by another address.
type sameError struct{ of string }

func (e sameError) Error() string { return "this is the server of " + e.of + ", which has a tunnel" }

// decided is what says that only a person changes an answer.
type decided interface{ Decided() bool }

// judge says what a failure means, and how long to wait before the next try: after
// so many failures in a row, this one among them.
func judge(err error, failures int) (State, time.Duration) {
	if errors.As(err, new(sameError)) {
		return Same, spread(samePause)
	}
	if r := (*connect.Refusal)(nil); errors.As(err, &r) {
		state, pause := Down, backoff(failures)
		switch r.Status {
		case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
			return None, spread(seldom)
		case http.StatusUnauthorized, http.StatusForbidden, http.StatusConflict, http.StatusUpgradeRequired:
			state, pause = Refused, spread(refusedPause)
		}
		if r.Retry > 0 {
			pause = spread(max(r.Retry, leastRetry))
		}
		return state, pause
	}
	var by decided
	if errors.As(err, &by) && by.Decided() {
		return Refused, spread(refusedPause)
	}
	return Down, backoff(failures)
}

// backoff is a random part of a pause that doubles, so that agents that lost one
// server do not come back to it at once.
func backoff(failures int) time.Duration {
	most := min(firstPause<<min(max(failures-1, 0), 8), mostPause)
	if failures <= 1 {
		return rand.N(most)
	}
	return most/2 + rand.N(most/2)
}

// spread is d and up to a quarter more.
func spread(d time.Duration) time.Duration { return d + rand.N(d/4) }
