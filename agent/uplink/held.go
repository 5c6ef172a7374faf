package uplink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
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
	node    intent.Node
	objects []intent.Object
}

// readIntent returns the intent on disk, or none. damage says why a file that is
// there cannot be used.
func readIntent(dir *datadir.Dir, node string) (f filed, damage, err error) {
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
	if damage == nil && f.Node != node {
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
	if h := u.held.Load(); !s.changed && h != nil {
		u.confirmed.Store(true)
		u.mark(h, c)
		return 0
	}
	objects := s.list()
	n, bad := s.decoder.Decode(u.cfg.Node, c.GetEpoch(), c.GetCompileVersion(), c.GetRevision(), objects)
	if s.whole {
		was, _ := u.Intent()
		u.mu.Lock()
		ok, wait := u.guard.admit(time.Now(), was, n)
		doubt := u.guard
		u.mu.Unlock()
		if !ok {
			u.cfg.Log.Error("full set doubted", note.Rev, n.Revision, note.Lost, doubt.lost, note.Of, doubt.of)
			u.out.setProblems("guard", []intent.Problem{doubt.problem()})
			return wait
		}
	}
	u.out.setProblems("guard", nil)
	u.confirmed.Store(true)
	changed := s.changed
	s.adopted()
	u.stand(&held{n, objects}, bad)
	if changed {
		wake(u.write)
	}
	if u.cfg.OnChange != nil {
		u.cfg.OnChange()
	}
	return 0
}

// mark takes a revision that changes no object: the same intent, only later.
func (u *Uplink) mark(h *held, c *weftv1.Complete) {
	n := h.node
	n.Epoch, n.Compile, n.Revision = c.GetEpoch(), c.GetCompileVersion(), c.GetRevision()
	u.held.Store(&held{n, h.objects})
	u.out.setRevision(n)
	if u.cfg.OnChange != nil {
		u.cfg.OnChange()
	}
}

// stand makes h the intent.
func (u *Uplink) stand(h *held, bad []intent.ObjectError) {
	u.held.Store(h)
	u.out.setIntent(h.node, bad)
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
		if u.filed != nil {
			d := min(time.Duration(1+len(u.filed.objects))*gatherObject, gatherMost)
			pause(ctx, d+rand.N(d))
		}
		for u.toDisk() != nil && ctx.Err() == nil {
			pause(ctx, diskRetry)
		}
	}
}

func (u *Uplink) toDisk() error {
	h := u.held.Load()
	if h == nil || h == u.filed {
		return nil
	}
	b, err := encodeFile(h.node, h.objects)
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
	u.out.setProblems("file", nil)
	return nil
}
