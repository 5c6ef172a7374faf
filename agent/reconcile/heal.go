package reconcile

import (
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/note"
)

// remembered is how many heals are kept.
const remembered = 256

// Heal is one object that somebody undid and the loop put back.
type Heal struct {
	Key  datapath.Key
	Step string        // what was done, as an operator would write it
	At   time.Time     // when the kernel told
	Took time.Duration // from then to the repair
}

// ring keeps the newest heals.
type ring struct {
	heals [remembered]Heal
	n     int // ever
}

func (r *ring) add(h Heal) {
	r.heals[r.n%remembered] = h
	r.n++
}

// all lists them, the oldest first.
func (r *ring) all() []Heal {
	var out []Heal
	for i := max(0, r.n-remembered); i < r.n; i++ {
		out = append(out, r.heals[i%remembered])
	}
	return out
}

// Heals lists what was put back, the oldest first, at most 256.
func (l *Loop) Heals() []Heal {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heals.all()
}

// Healed is how many objects were put back, ever.
func (l *Loop) Healed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heals.n
}

// healed adds a step to the heals if it put back something undone.
func (l *Loop) healed(heals []Heal, key datapath.Key, op datapath.Op, now time.Time) []Heal {
	at, ok := l.broken[key]
	if !ok || op.New == nil {
		return heals
	}
	delete(l.broken, key)
	return append(heals, Heal{Key: key, Step: op.String(), At: at, Took: now.Sub(at)})
}

func (l *Loop) noteHeals(heals []Heal) {
	if len(heals) == 0 {
		return
	}
	l.mu.Lock()
	for _, h := range heals {
		l.heals.add(h)
	}
	l.mu.Unlock()
	l.cfg.Log.Info("objects healed", note.Op, heals[0].Step, note.Objects, len(heals), note.Took, heals[0].Took)
}
