package reconcile

import (
	"slices"

	"github.com/weft-net/weft/agent/datapath"
)

// open is where what is wanted and what is there may differ: keys that either
// side changed since they were last seen to agree.
type open struct {
	all  bool // no key is known to agree
	keys map[datapath.Key]struct{}
}

func newOpen() *open { return &open{all: true, keys: map[datapath.Key]struct{}{}} }

func (o *open) key(k datapath.Key) { o.keys[k] = struct{}{} }

func (o *open) everything() { o.all = true }

// bearing are the kinds that others rest on: what becomes of one decides about
// objects of other keys.
var bearing = datapath.Of(datapath.KindLink, datapath.KindAddr, datapath.KindSet, datapath.KindChain)

// whole tells whether all objects must be compared.
func (o *open) whole() bool {
	if o.all {
		return true
	}
	for k := range o.keys {
		if bearing.Has(k.Kind) {
			return true
		}
	}
	return false
}

// diff is what lies between what is wanted and what is there. Only open keys are
// compared, unless something is open that others rest on; those between which
// nothing lies are closed.
func (l *Loop) diff() []datapath.Op {
	if !l.open.all && len(l.open.keys) == 0 {
		return nil
	}
	want, have := l.want.state, l.have
	if !l.open.whole() {
		c := l.cut()
		for k := range l.open.keys {
			c.add(k)
		}
		want, have = c.want, c.have
	}
	var ops []datapath.Op
	if differ(want, have) {
		ops = datapath.Diff(want, have)
	}
	ops = slices.DeleteFunc(ops, func(op datapath.Op) bool {
		return l.want.state[op.Key()] == nil && (!l.want.complete || l.want.keep != nil && op.Old != nil && l.want.keep(op.Old))
	})
	l.open.all = false
	clear(l.open.keys)
	for _, op := range ops {
		l.open.key(op.Key())
	}
	return ops
}

// differ tells quickly whether there is anything to do at all.
func differ(want, have datapath.State) bool {
	for k, o := range want {
		if h, ok := have[k]; !ok || o != h && !same(k, o, h) {
			return true
		}
	}
	for k := range have {
		if _, ok := want[k]; !ok && k.Kind != datapath.KindSysctl {
			return true
		}
	}
	return false
}
