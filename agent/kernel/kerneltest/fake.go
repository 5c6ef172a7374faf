package kerneltest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/weft-net/weft/agent/datapath"
)

// Fake is a kernel in memory. The zero value is not useful: see New. It is safe
// for concurrent use.
type Fake struct {
	mu    sync.Mutex
	state datapath.State
	host  datapath.Host
	fail  map[datapath.Key]error
	taken []datapath.Op // steps that changed something
	kicks map[int]func(datapath.Kinds)
	next  int
}

// New makes an empty kernel that has the given devices of its own, which routes
// may use.
func New(devices ...string) *Fake {
	f := &Fake{state: datapath.State{}, fail: map[datapath.Key]error{}, kicks: map[int]func(datapath.Kinds){}}
	for i, d := range devices {
		f.host.Links = append(f.host.Links, datapath.HostLink{Index: i + 1, Name: d, Type: "device", MTU: 1500, Up: true})
	}
	return f
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

// Taken returns the steps that changed something since the last call.
func (f *Fake) Taken() []datapath.Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.taken
	f.taken = nil
	return out
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

// Hand does what somebody did by hand: it deletes objects, and tells those who
// watch. What rests on them goes too.
func (f *Fake) Hand(keys ...datapath.Key) {
	f.mu.Lock()
	var kinds datapath.Kinds
	for _, k := range keys {
		f.drop(k)
		kinds |= datapath.Of(k.Kind)
	}
	f.mu.Unlock()
	f.kick(kinds)
}

// Put adds or changes an object by hand, whatever it rests on, and tells those
// who watch: a pod's veth, a foreign rule, a device set down.
func (f *Fake) Put(objects ...datapath.Object) {
	f.mu.Lock()
	var kinds datapath.Kinds
	for _, o := range objects {
		if l, ok := o.(datapath.Link); ok && l.Down {
			f.setDown(l)
		}
		f.state[o.Key()] = o
		kinds |= datapath.Of(o.Key().Kind)
	}
	f.mu.Unlock()
	f.kick(kinds)
}

// FlushRuleset is nft flush ruleset.
func (f *Fake) FlushRuleset() {
	f.mu.Lock()
	maps.DeleteFunc(f.state, func(k datapath.Key, _ datapath.Object) bool { return firewall.Has(k.Kind) })
	f.mu.Unlock()
	f.kick(firewall)
}

// SetHost changes the node's own network and tells those who watch.
func (f *Fake) SetHost(h datapath.Host) {
	f.mu.Lock()
	f.host = h
	f.mu.Unlock()
	f.kick(datapath.Of(datapath.KindLink, datapath.KindAddr, datapath.KindRoute))
}

// Host returns what New or SetHost said.
func (f *Fake) Host(ctx context.Context) (datapath.Host, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.host, ctx.Err()
}

// Watch tells of what happens by hand, until ctx ends.
func (f *Fake) Watch(ctx context.Context, kick func(datapath.Kinds)) error {
	f.mu.Lock()
	id := f.next
	f.next++
	f.kicks[id] = kick
	f.mu.Unlock()
	<-ctx.Done()
	f.mu.Lock()
	delete(f.kicks, id)
	f.mu.Unlock()
	return nil
}

func (f *Fake) kick(kinds datapath.Kinds) {
	f.mu.Lock()
	kicks := slices.Collect(maps.Values(f.kicks))
	f.mu.Unlock()
	for _, k := range kicks {
		k(kinds)
	}
}

// Close does nothing.
func (f *Fake) Close() error { return nil }

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
			f.taken = append(f.taken, op)
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
	have := f.state[op.Key()]
	if l, ok := op.New.(datapath.Link); ok {
		old, ok := have.(datapath.Link)
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
	if have != op.New {
		f.taken = append(f.taken, op)
	}
	f.state[op.Key()] = op.New
}
