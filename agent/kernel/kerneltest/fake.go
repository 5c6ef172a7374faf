package kerneltest

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/weft-net/weft/agent/datapath"
)

// Fake is a kernel in memory. The zero value is not useful: see New. It is safe
// for concurrent use.
type Fake struct {
	devices []string // that are not ours

	mu    sync.Mutex
	state datapath.State
	fail  map[datapath.Key]error
}

// New makes an empty kernel that has the given devices of its own, which routes
// may use.
func New(devices ...string) *Fake {
	return &Fake{devices: devices, state: datapath.State{}, fail: map[datapath.Key]error{}}
}

// Fail makes every step on an object fail with err, until it is called with nil.
func (f *Fake) Fail(k datapath.Key, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		delete(f.fail, k)
		return
	}
	f.fail[k] = err
}

// State returns a copy of all that is there.
func (f *Fake) State() datapath.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.state)
}

// String is the state as an operator would write it, one object a line, sorted.
func (f *Fake) String() string { return Text(f.State()) }

// Text is a state as an operator would write it, in the order of creation.
func Text(s datapath.State) string {
	var b strings.Builder
	for _, op := range datapath.Diff(s, datapath.State{}) {
		b.WriteString(op.New.String() + "\n")
	}
	return b.String()
}

// Hand does what somebody did by hand: it deletes objects, and what rests on them
// goes too.
func (f *Fake) Hand(keys ...datapath.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range keys {
		f.drop(k)
	}
}

// Put adds or changes an object by hand, whatever it rests on: a pod's veth, a
// foreign rule, a device set down.
func (f *Fake) Put(objects ...datapath.Object) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range objects {
		if l, ok := o.(datapath.Link); ok && l.Down {
			f.setDown(l)
		}
		f.state[o.Key()] = o
	}
}

// FlushRuleset is nft flush ruleset.
func (f *Fake) FlushRuleset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.state, func(k datapath.Key, _ datapath.Object) bool { return firewall.Has(k.Kind) })
}

// Observe returns the objects of some kinds.
func (f *Fake) Observe(ctx context.Context, kinds datapath.Kinds) (datapath.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := datapath.State{}
	for k, o := range f.state {
		if kinds.Has(k.Kind) {
			out[k] = o
		}
	}
	return out, ctx.Err()
}

var firewall = datapath.Of(datapath.KindSet, datapath.KindChain, datapath.KindElement, datapath.KindRule)

// Apply takes the steps as package kernel does: each by itself, but those of
// nftables in one transaction at the place of the first.
func (f *Fake) Apply(ctx context.Context, ops []datapath.Op) []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	errs := make([]error, len(ops))
	if err := ctx.Err(); err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	transacted := false
	for i, op := range ops {
		switch {
		case !firewall.Has(op.Key().Kind):
			errs[i] = f.step(op)
		case !transacted:
			transacted = true
			f.transact(ops, errs)
		}
	}
	for i, err := range errs {
		if err != nil {
			errs[i] = fmt.Errorf("kerneltest: %v: %w", ops[i], err)
		}
	}
	return errs
}

func (f *Fake) step(op datapath.Op) error {
	if err := f.fail[op.Key()]; err != nil {
		return err
	}
	if op.New == nil {
		if f.state[op.Key()] != nil && op.Key().Kind != datapath.KindSysctl {
			f.drop(op.Key())
		}
		return nil
	}
	if err := f.check(op.New); err != nil {
		return err
	}
	f.put(op)
	return nil
}

func (f *Fake) put(op datapath.Op) {
	if l, ok := op.New.(datapath.Link); ok {
		old, ok := f.state[op.Key()].(datapath.Link)
		switch {
		case ok && l.MustRemake(old):
			f.drop(l.Key())
		case ok && l.MAC != (datapath.MAC{}) && l.MAC != old.MAC:
			f.dropIf(func(o datapath.Object) bool { // net/core/neighbour.c, neigh_changeaddr
				n, ok := o.(datapath.Neigh)
				return ok && n.Dev == l.Name
			})
		}
	}
	if p, ok := op.New.(datapath.WGPeer); ok {
		f.putPeer(p)
		return
	}
	f.state[op.Key()] = op.New
}
