package paths

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/weft-net/weft/proto/disco"
	"github.com/weft-net/weft/proto/intent"
)

// Bounds on pongs to one peer in one slot: a second, and at once.
const (
	pongRate  = 50
	pongBurst = 100
)

// place is a slot of a peer.
type place struct {
	peer string
	slot uint8
}

// end is our end of the probes with a peer in a slot.
type end struct {
	place
	port     uint16 // ours
	own, key intent.Key
	line     *disco.Line
	id       disco.ID
	pongs    bucket
}

// ends are those of all peers.
type ends struct {
	at    map[place]*end
	byID  map[disco.ID]*end
	byKey map[intent.Key]place // the peer's keys
}

func newEnds() ends {
	return ends{at: map[place]*end{}, byID: map[disco.ID]*end{}, byKey: map[intent.Key]place{}}
}

// put makes an end, unless it is there with the same keys: then it lives on.
func (e *ends) put(at place, own intent.Slot, key intent.Key, shared func(own, peer intent.Key) ([32]byte, error)) error {
	if had, ok := e.at[at]; ok && had.own == own.Key && had.key == key {
		had.port = own.Port
		return nil
	}
	if other, ok := e.byKey[key]; ok && other != at {
		return fmt.Errorf("paths: key %v of slot %d is that of %s too: a data folder was cloned; on one of the two: weft rotate keys", key, at.slot, other.peer)
	}
	e.drop(at)
	secret, err := shared(own.Key, key)
	if err != nil {
		return fmt.Errorf("paths: key %v of slot %d: %w", key, at.slot, err)
	}
	keys, err := disco.Derive(secret, own.Key, key)
	if err != nil {
		return err
	}
	n := &end{place: at, port: own.Port, own: own.Key, key: key, line: disco.NewLine(keys), id: keys.In()}
	e.at[at], e.byID[n.id], e.byKey[key] = n, n, at
	return nil
}

func (e *ends) drop(at place) {
	if n, ok := e.at[at]; ok {
		delete(e.at, at)
		delete(e.byID, n.id)
		delete(e.byKey, n.key)
	}
}

// keep drops all others.
func (e *ends) keep(those map[place]bool) {
	for at := range e.at {
		if !those[at] {
			e.drop(at)
		}
	}
}

// bucket bounds a rate.
type bucket struct {
	left float64
	at   time.Time
}

// take answers whether one more is within the rate.
func (b *bucket) take(now time.Time) bool {
	if b.at.IsZero() {
		b.left = pongBurst
	} else {
		b.left = min(pongBurst, b.left+now.Sub(b.at).Seconds()*pongRate)
	}
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// reason is what the kernel said, in its words.
func reason(err error) string {
	var no syscall.Errno
	if errors.As(err, &no) {
		return no.Error()
	}
	return err.Error()
}
