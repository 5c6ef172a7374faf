package intent

import (
	"fmt"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/proto"
)

// CollectionPause holds one object for a node on which a person works, PauseKey,
// which goes to that node alone.
const (
	CollectionPause = "pause"
	SchemaPause     = 1
)

// MaxPause is the longest pause.
const MaxPause = 24 * time.Hour

// PauseKey is the key of a node's object in CollectionPause.
func PauseKey(name string) string { return "Pause//" + name }

// Pause asks a node not to heal for a while. The zero value asks for nothing. The
// time counts from when the node sees the ID first: clocks differ.
type Pause struct {
	ID     string
	For    time.Duration // whole seconds, up to MaxPause
	Reason string
	By     string // who asked for it
}

const maxPauseText = 1024 // bytes of each

// EncodePause is the wire form of a Pause.
func EncodePause(p Pause) []byte {
	return marshal(&weftv1.PauseIntent{Id: p.ID, Seconds: uint32(p.For / time.Second), Reason: p.Reason, By: p.By})
}

// DecodePause reads what EncodePause writes.
func DecodePause(b []byte) (Pause, error) {
	var m weftv1.PauseIntent
	if err := proto.Unmarshal(b, &m); err != nil {
		return Pause{}, fmt.Errorf("not a PauseIntent: %w", err)
	}
	p := Pause{ID: m.Id, For: time.Duration(m.Seconds) * time.Second, Reason: m.Reason, By: m.By}
	switch {
	case p.ID == "" || len(p.ID) > 64:
		return Pause{}, fmt.Errorf("id of %d bytes: 1 to 64", len(p.ID))
	case p.For < time.Second || p.For > MaxPause:
		return Pause{}, fmt.Errorf("%d seconds: 1 to %d", m.Seconds, int(MaxPause/time.Second))
	case len(p.Reason) > maxPauseText || len(p.By) > maxPauseText:
		return Pause{}, fmt.Errorf("reason of %d, by of %d bytes: at most %d", len(p.Reason), len(p.By), maxPauseText)
	}
	return p, nil
}
