package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/agent/local"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
)

const pauseName = "pause.json"

// breaks are the pauses of healing on this node: one that the fabric asks for, by
// its ID, and one that was asked for on the node. They are on disk, so that a
// restart neither ends nor begins one anew.
type breaks struct {
	dir   *datadir.Dir
	log   *slog.Logger
	loop  pausable
	touch func()

	mu    sync.Mutex
	file  breaksFile
	timer *time.Timer
	was   bool // paused, when it was last settled
}

// pausable is what heals: reconcile.Loop.
type pausable interface {
	Pause(on bool)
	Untouched() int
}

// Untouched is how many objects are other than they should be.
func (b *breaks) Untouched() int { return b.loop.Untouched() }

type breaksFile struct {
	Schema int    `json:"schema"`
	Fabric ending `json:"fabric"` // of the last ID seen, also when it is over
	Node   ending `json:"node"`
}

// ending is one pause and when it is over.
type ending struct {
	ID     string    `json:"id,omitempty"`
	Until  time.Time `json:"until"`
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"`
}

// openBreaks reads the record. One that cannot be read is no reason to pause.
func openBreaks(dir *datadir.Dir, log *slog.Logger, loop pausable, touch func()) (*breaks, error) {
	b := &breaks{dir: dir, log: log, loop: loop, touch: touch}
	raw, err := dir.Read(pauseName)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("agent: recorded pauses: %w", err)
	}
	if err := json.Unmarshal(raw, &b.file); err != nil || schema.Pauses.Check("it", b.file.Schema) != nil {
		log.Warn("recorded pauses unreadable", note.Path, dir.Path(pauseName), note.Err, err)
		b.file = breaksFile{}
	}
	longest := time.Now().Add(intent.MaxPause) // clocks jump
	for _, e := range []*ending{&b.file.Fabric, &b.file.Node} {
		if e.Until.After(longest) {
			e.Until = longest
		}
	}
	return b, nil
}

// asked takes what the fabric asks for; the zero Pause is nothing.
func (b *breaks) asked(p intent.Pause) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case p.ID == "" && b.file.Fabric.ID != "":
		b.file.Fabric = ending{}
	case p.ID != b.file.Fabric.ID:
		b.file.Fabric = ending{ID: p.ID, Until: time.Now().Add(p.For), Reason: p.Reason, By: p.By}
	default:
		b.settle()
		return
	}
	b.save()
	b.settle()
}

// Pause begins one on the node.
func (b *breaks) Pause(d time.Duration, reason string) local.Paused {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.file.Node = ending{Until: time.Now().Add(d), Reason: reason, By: "somebody on the node"}
	b.save()
	b.settle()
	p, _ := b.now()
	return p
}

// Resume ends both. The fabric's is over by its ID: what it says again of that one
// begins nothing.
func (b *breaks) Resume() (was local.Paused, paused bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was, paused = b.now()
	b.file.Node = ending{}
	b.file.Fabric.Until = time.Time{}
	b.save()
	b.settle()
	return was, paused
}

// Paused is the pause that ends last.
func (b *breaks) Paused() (local.Paused, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now()
}

func (b *breaks) now() (local.Paused, bool) {
	e := b.file.Fabric
	if b.file.Node.Until.After(e.Until) {
		e = b.file.Node
	}
	return local.Paused{Until: e.Until, Reason: e.Reason, By: e.By}, e.Until.After(time.Now())
}

// save keeps the record. A disk that does not take it costs what a restart would
// know, not the pause.
func (b *breaks) save() {
	b.file.Schema = schema.Pauses.Version()
	raw, err := json.Marshal(b.file)
	if err == nil {
		err = b.dir.Write(pauseName, raw)
	}
	if err != nil {
		b.log.Warn("pauses not recorded", note.Err, err)
	}
}

// settle makes the loop heal or not, and comes back when the pause is over.
func (b *breaks) settle() {
	p, on := b.now()
	if b.timer != nil {
		b.timer.Stop()
	}
	if on {
		b.timer = time.AfterFunc(time.Until(p.Until), func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.settle()
		})
	}
	if on == b.was {
		return
	}
	b.was = on
	b.loop.Pause(on)
	b.touch()
	if on {
		b.log.Warn("healing was paused", note.Until, p.Until, note.Why, p.Reason, note.User, p.By)
	} else {
		b.log.Info("healing was resumed")
	}
}

// problems says loudly that the node is not healed.
func (b *breaks) problems() []intent.Problem {
	p, on := b.Paused()
	if !on {
		return nil
	}
	cause := "healing is PAUSED until " + p.Until.UTC().Format(time.TimeOnly) + " UTC by " + p.By
	if p.Reason != "" {
		cause += " (" + p.Reason + ")"
	}
	if untouched := b.loop.Untouched(); untouched > 0 {
		cause += fmt.Sprintf(": %d objects are other than they should be", untouched)
	}
	return []intent.Problem{{Subject: "healing", Cause: cause, Remedy: "weft resume node NAME, or on the node: weft resume --local; it ends by itself"}}
}
