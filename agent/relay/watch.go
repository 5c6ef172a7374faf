package relay

import (
	"context"
	"time"

	"github.com/weft-net/weft/proto/note"
)

// How soon a connection that carries something is found to be silent. What is idle has
// more time: pingEvery and deadAfter.
const (
	watchEvery = 200 * time.Millisecond
	askAfter   = 250 * time.Millisecond
	muteAfter  = 800 * time.Millisecond
	busyFor    = 2 * time.Second // after something was sent
)

// clock is the time since the Relay began.
func (r *Relay) clock() time.Duration { return time.Since(r.born) }

// watch looks at connections while something is sent over them. One that says nothing
// for the better part of a second although it is asked is not used while there is another one; it is not
// closed, for it may only be slow.
func (r *Relay) watch(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.flows:
		}
		for r.listen() {
			if !pause(ctx, watchEvery) {
				return nil
			}
		}
	}
}

// listen asks those that are silent, and tells whether any is in use.
func (r *Relay) listen() (busy bool) {
	var all []*link
	r.mu.RLock()
	for _, l := range r.links {
		all = append(all, l)
	}
	r.mu.RUnlock()
	for _, l := range all {
		silent := l.conn.Silence()
		used := r.clock()-time.Duration(l.sent.Load()) < busyFor
		if was := l.mute.Load(); was || used {
			busy = true
			l.judge(silent, was)
		}
	}
	r.mu.Lock()
	changed := r.rank()
	r.mu.Unlock()
	if changed {
		r.cfg.OnChange()
	}
	return busy
}

// judge takes a link out of use that has been silent for long, and back into use once
// it is not.
func (l *link) judge(silent time.Duration, was bool) {
	now := l.r.clock()
	switch {
	case silent <= askAfter:
		l.asked = 0
	case l.asked == 0:
		l.asked = now // an idle one was silent because nobody asked
		fallthrough
	default:
		l.conn.Ping()
	}
	switch mute := silent > muteAfter && l.asked > 0 && now-l.asked >= muteAfter-askAfter; {
	case mute && !was:
		l.mute.Store(true)
		l.r.stats.mutes.Add(1)
		l.r.cfg.Log.Warn("relay was silent", note.Server, l.server, note.Took, silent)
	case !mute && was:
		l.mute.Store(false)
		l.r.cfg.Log.Info("relay answered again", note.Server, l.server)
	}
}
