package members

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
)

// promotions is a list of members that tells which of them were to get a vote.
type promotions struct {
	fixed
	asked chan uint64
}

func (p promotions) Promote(ctx context.Context, id uint64) error {
	select {
	case p.asked <- id:
	case <-ctx.Done():
	}
	return errors.New("it has not caught up")
}

// TestWhoIsGoneGetsNoVote: a learner that was killed as it joined stays without one.
func TestWhoIsGoneGetsNoVote(t *testing.T) {
	there, gone := httptest.NewTLSServer(nil), httptest.NewTLSServer(nil)
	defer there.Close()
	gone.Close()
	p := promotions{asked: make(chan uint64), fixed: fixed{[]store.Member{
		{ID: 1, Name: "s1", PeerURLs: []string{there.URL}},
		{ID: 2, Name: "s2", PeerURLs: []string{gone.URL}, Learner: true},
		{ID: 3, PeerURLs: []string{there.URL}, Learner: true}, // it has never started
		{ID: 4, Name: "s4", PeerURLs: []string{gone.URL, there.URL}, Learner: true},
	}}}
	r := New(Config{Server: Server{Name: "s1"}, Store: storetest.New(), Roster: p, DialTLS: &tls.Config{InsecureSkipVerify: true}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.promote(ctx) }()
	for range 2 { // whole rounds
		if id := <-p.asked; id != 4 {
			t.Errorf("member %d was to get a vote", id)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
