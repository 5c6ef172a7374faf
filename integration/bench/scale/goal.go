package main

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// wanted is what every agent of a generator is to hold.
type wanted struct {
	Objects int    `json:"objects,omitempty"` // at least so many
	Peer    string `json:"peer,omitempty"`    // this node among its peers
	Gone    string `json:"gone,omitempty"`    // not this one
	Told    bool   `json:"told,omitempty"`    // anything, from a server, since the goal was set
	Grown   int    `json:"grown,omitempty"`   // labels of Peer with this value
}

// goal is how far agents are with what is wanted.
type goal struct {
	want  wanted
	start time.Time
	done  chan struct{} // closed when all are there

	mu    sync.Mutex
	wait  map[*agent]bool
	times []time.Duration // of those that are there, since the start
	slow  []time.Duration // of slow agents, apart
}

// aim sets a goal for all agents that are there now.
func (s *swarm) aim(w wanted, start time.Time) *goal {
	g := &goal{want: w, start: start, done: make(chan struct{}), wait: map[*agent]bool{}}
	s.mu.Lock()
	for _, a := range s.agents {
		g.wait[a] = true
	}
	s.goal = g
	all := make([]*agent, 0, len(s.agents))
	for a := range g.wait {
		all = append(all, a)
	}
	s.mu.Unlock()
	if len(all) == 0 {
		close(g.done)
	}
	if w.Told {
		return g // what was told before does not count
	}
	for _, a := range all {
		g.look(a)
	}
	return g
}

// look notes an agent that is there.
func (g *goal) look(a *agent) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.wait[a] || !g.want.met(a) {
		return
	}
	delete(g.wait, a)
	took := time.Since(g.start)
	if a.slow.Load() {
		g.slow = append(g.slow, took)
	} else {
		g.times = append(g.times, took)
	}
	if len(g.wait) == 0 {
		close(g.done)
	}
}

func (w wanted) met(a *agent) bool {
	switch {
	case w.Objects > 0:
		_, objects := a.uplink.Held()
		return objects >= w.Objects
	case w.Grown > 0:
		o, _ := a.uplink.Object(intent.ID{Collection: intent.CollectionPeers, Key: intent.PeerKey(w.Peer)})
		return bytes.Contains(o.Value, fmt.Appendf(nil, "%059d", w.Grown))
	case w.Peer != "":
		return a.revision(intent.CollectionPeers, intent.PeerKey(w.Peer)) > 0
	case w.Gone != "":
		return a.revision(intent.CollectionPeers, intent.PeerKey(w.Gone)) == 0
	}
	return true
}

// revision of an object that the agent holds; 0 if it does not.
func (a *agent) revision(collection, key string) int64 {
	o, _ := a.uplink.Object(intent.ID{Collection: collection, Key: key})
	return o.Revision
}

// times of arrival, milliseconds.
type times struct {
	Agents int     `json:"agents"`
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
	Last   float64 `json:"last"`
}

func spread(ds []time.Duration) times {
	if len(ds) == 0 {
		return times{}
	}
	s := slices.Sorted(slices.Values(ds))
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return times{len(s), ms(s[len(s)/2]), ms(s[len(s)*99/100]), ms(s[len(s)-1])}
}
