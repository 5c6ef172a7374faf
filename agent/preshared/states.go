package preshared

import (
	"maps"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
)

// tell hands on states that are others.
func (a *Agreement) tell() {
	a.mu.Lock()
	now := a.m.States()
	was := *a.states.Swap(&now)
	a.mu.Unlock()
	if maps.Equal(was, now) {
		return
	}
	a.log(was, now)
	if a.cfg.Alter != nil {
		a.cfg.Alter()
	}
}

// log notes keys that are new, and such as are forgotten.
func (a *Agreement) log(was, now map[string][intent.Slots]State) {
	for name, list := range now {
		for slot, s := range list {
			old := was[name][slot]
			switch {
			case s.Key == old.Key || s.Own != old.Own || s.Theirs != old.Theirs: // or found on the disk
			case s.Key != [32]byte{}:
				a.cfg.Log.Info("pre-shared key agreed on", note.Node, name, note.Slot, slot, note.Object, Short(s.Key))
			default:
				a.cfg.Log.Warn("pre-shared key forgotten", note.Node, name, note.Slot, slot, note.Object, Short(old.Key),
					note.Why, "the two ends do not have the same", note.Do, "nothing: they agree on another")
			}
		}
	}
}
