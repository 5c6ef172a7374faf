package tunnels

import (
	"context"
	"time"
)

// retire has a tunnel end with its last stream, and waits for that elsewhere. What
// the agent stops, or what there are too many of, has less time.
func (k *keeper) retire(s *session) {
	ends := time.Now().Add(drainMost)
	if u := s.path.Until; !u.IsZero() && u.Before(ends) {
		ends = u
	}
	bounded, hurry := context.WithDeadline(context.WithoutCancel(k.life), ends)
	s.hurry = hurry
	k.t.mu.Lock()
	k.old = append(k.old, s)
	if len(k.old) > maxOld {
		k.old[0].hurry()
	}
	k.t.mu.Unlock()
	s.conn.Drain()
	k.t.going.Go(func() {
		defer hurry()
		defer context.AfterFunc(k.life, func() { time.AfterFunc(stopWithin, hurry) })()
		k.grace(s)
		_ = s.conn.Quiet(bounded)
		_ = s.conn.Close()
		<-s.ended
		k.forget(s)
	})
}

// grace leaves a moment to streams that the server opened before it heard. An agent
// that stops has none to give.
func (k *keeper) grace(s *session) {
	t := time.NewTimer(drainGrace)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.conn.Done():
	case <-k.life.Done():
	}
}

func (k *keeper) forget(s *session) {
	k.t.mu.Lock()
	defer k.t.mu.Unlock()
	for i, old := range k.old {
		if old == s {
			k.old = append(k.old[:i:i], k.old[i+1:]...)
			return
		}
	}
}
