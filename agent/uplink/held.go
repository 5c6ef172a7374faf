package uplink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

const (
	// diskRetry is how long to wait after a disk refused the intent.
	diskRetry = 10 * time.Second
	// gatherObject and gatherMost are for how long changes are gathered before one
	// write, to twice of it: a millisecond for each object, for a write costs what
	// the whole intent is large. When a node joins, a thousand agents are told at
	// once, and many share a disk; but an agent that is killed meanwhile comes back
	// to an older intent, so a few nodes wait next to nothing.
	gatherObject = time.Millisecond
	gatherMost   = time.Second
)

// held is a complete intent. It never changes.
type held struct {
	name     string
	epoch    string
	compile  uint32
	revision int64
	set      *intent.Set
}

func (h *held) intent() intent.Node { return h.set.Node(h.name, h.epoch, h.compile, h.revision) }

// readIntent returns the intent on disk, or none. damage says why a file that is
// there cannot be used.
func readIntent(dir *datadir.Dir, node string, former ...string) (f filed, damage, err error) {
	b, err := dir.Read(intentName)
	if errors.Is(err, fs.ErrNotExist) {
		return filed{}, nil, nil
	}
	if err != nil {
		return filed{}, nil, fmt.Errorf("uplink: last intent: %w", err)
	}
	f, damage = decodeFile(b)
	if newer := (schema.Newer{}); errors.As(damage, &newer) {
		newer.What = dir.Path(intentName)
		return filed{}, nil, fmt.Errorf("uplink: %w", newer)
	}
	if damage == nil && f.Node != node && !slices.Contains(former, f.Node) {
		return filed{}, nil, fmt.Errorf("uplink: %s belongs to node %q, not %q: start with --node-name %s, or give this node a data folder of its own with --data-dir",
			dir.Path(intentName), f.Node, node, f.Node)
	}
	return f, damage, nil
}

func (u *Uplink) setAside(damage error) {
	to, err := u.dir.SetAside(intentName)
	if err != nil {
		to = u.dir.Path(intentName) + " (" + err.Error() + ")"
	}
	u.cfg.Log.Error("intent on disk unreadable", note.Path, to, note.Err, damage)
	u.out.setProblems("file", []intent.Problem{{
		Subject: u.dir.Path(intentName),
		Cause:   "the last intent could not be read: " + damage.Error(),
		Remedy:  "nothing, once a server has sent a new one; the damaged file is " + to,
	}})
}

// adopt makes what is staged the intent, or tells how long to wait for a second
// word. The caller holds the stage.
func (u *Uplink) adopt(s *stage, c *weftv1.Complete) (wait time.Duration) {
	was := u.held.Load()
	h := &held{u.cfg.Node, c.GetEpoch(), c.GetCompileVersion(), c.GetRevision(), s.complete()}
	changed := s.changed() || was == nil
	if s.whole && was != nil {
		u.mu.Lock()
		ok, wait := u.guard.admit(time.Now(), was.intent(), h.intent())
		doubt := u.guard
		u.mu.Unlock()
		if !ok {
			u.cfg.Log.Error("full set doubted", note.Rev, h.revision, note.Lost, doubt.lost, note.Of, doubt.of)
			u.out.setProblems("guard", []intent.Problem{doubt.problem()})
			return wait
		}
	}
	u.confirmed.Store(true)
	s.adopted(h.set)
	if changed {
		u.out.setProblems("guard", nil)
		u.out.setUnfiled(h.revision)
		u.stand(h)
		wake(u.write)
	} else { // the same intent, only later
		u.held.Store(h)
		u.out.setRevision(h)
	}
	for _, b := range u.kept() {
		b.Kick() // whether there are relays is the intent's
	}
	if u.cfg.OnChange != nil {
		u.cfg.OnChange()
	}
	return 0
}

// stand makes h the intent.
func (u *Uplink) stand(h *held) {
	bad := h.set.Bad()
	u.held.Store(h)
	u.out.setIntent(h, bad)
	var ps []intent.Problem
	for _, e := range bad {
		ps = append(ps, intent.Problem{Subject: e.Key, Cause: "not understood: " + clip(e.Err.Error()), Remedy: objectRemedy})
	}
	u.out.setProblems("objects", ps)
}

// keepFile writes the intent to disk: the first at once, a change of it with those
// that follow soon, and the latest at the end. A marker alone (a revision without
// changed objects) waits for that.
func (u *Uplink) keepFile(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return u.toDisk()
		case <-u.write:
		}
		if u.cfg.Unfiled {
			continue
		}
		if u.filed != nil {
			d := min(time.Duration(1+u.filed.set.Len())*gatherObject, gatherMost)
			pause(ctx, d+rand.N(d))
		}
		for u.toDisk() != nil && ctx.Err() == nil {
			pause(ctx, diskRetry)
		}
	}
}

func (u *Uplink) toDisk() error {
	h := u.held.Load()
	if h == nil || h == u.filed || u.cfg.Unfiled {
		return nil
	}
	b, err := encodeFile(h)
	if err == nil {
		err = u.dir.Write(intentName, b)
	}
	if err != nil {
		u.cfg.Log.Error("intent not written", note.Err, err)
		u.out.setProblems("file", []intent.Problem{{
			Subject: u.dir.Path(intentName),
			Cause:   "the intent could not be written: " + err.Error(),
			Remedy:  "free space or make the folder writable; until then a restart without a server comes back to an older intent",
		}})
		return fmt.Errorf("uplink: %w", err)
	}
	u.filed = h
	u.out.setFiled(h.epoch, h.revision)
	u.out.setProblems("file", nil)
	return nil
}
