package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"

	"github.com/weft-net/weft/agent/datapath"
)

// fakeKernel keeps a state, refuses what it is told to refuse, and counts.
type fakeKernel struct {
	mu       sync.Mutex
	state    datapath.State
	refuse   map[datapath.Key]error // steps about these fail
	unseen   error                  // Observe fails
	undo     func(datapath.State)   // somebody fights, after each Apply
	observed []datapath.Kinds
	applied  [][]datapath.Op
	events   func(datapath.Kinds) // own steps come back as events, as in a real kernel
}

func newFake() *fakeKernel {
	return &fakeKernel{state: datapath.State{}, refuse: map[datapath.Key]error{}}
}

func (f *fakeKernel) Observe(_ context.Context, kinds datapath.Kinds) (datapath.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.observed = append(f.observed, kinds)
	if f.unseen != nil {
		return nil, f.unseen
	}
	out := datapath.State{}
	for k, o := range f.state {
		if kinds.Has(k.Kind) {
			out[k] = o
		}
	}
	return out, nil
}

func (f *fakeKernel) Apply(_ context.Context, ops []datapath.Op) []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applied = append(f.applied, ops)
	errs := make([]error, len(ops))
	f.transact(ops, errs)
	var touched datapath.Kinds
	for i, op := range ops {
		k := op.Key()
		if k.Kind < datapath.KindSet {
			errs[i] = f.refuse[k]
		}
		if errs[i] != nil {
			continue
		}
		touched |= datapath.Of(k.Kind)
		f.step(op)
	}
	if f.undo != nil {
		f.undo(f.state)
	}
	if f.events != nil && touched != 0 {
		f.events(touched)
	}
	return errs
}

// transact fails all steps of nftables if one of them fails.
func (f *fakeKernel) transact(ops []datapath.Op, errs []error) {
	var bad error
	for _, op := range ops {
		if k := op.Key(); k.Kind >= datapath.KindSet && f.refuse[k] != nil {
			bad = f.refuse[k]
		}
		if e, ok := op.New.(datapath.Element); ok && f.state[datapath.Key{Kind: datapath.KindSet, ID: e.Set}] == nil && !adds(ops, e.Set) {
			bad = fmt.Errorf("no set %s", e.Set)
		}
	}
	for i, op := range ops {
		if op.Key().Kind >= datapath.KindSet {
			errs[i] = bad
		}
	}
}

func adds(ops []datapath.Op, set string) bool {
	for _, op := range ops {
		if s, ok := op.New.(datapath.Set); ok && s.Name == set {
			return true
		}
	}
	return false
}

// step does what a kernel does, silent losses included.
func (f *fakeKernel) step(op datapath.Op) {
	k := op.Key()
	if op.New != nil {
		f.state[k] = op.New
		return
	}
	delete(f.state, k)
	if link, ok := op.Old.(datapath.Link); ok {
		f.loseDevice(link.Name)
	}
}

func (f *fakeKernel) loseDevice(dev string) {
	maps.DeleteFunc(f.state, func(_ datapath.Key, o datapath.Object) bool {
		switch o := o.(type) {
		case datapath.Link:
			return o.Name == dev
		case datapath.Addr:
			return o.Dev == dev
		case datapath.Neigh:
			return o.Dev == dev
		case datapath.FDB:
			return o.Dev == dev
		case datapath.Route:
			return o.Dev == dev
		}
		return false
	})
}

// byHand changes the kernel as somebody else would.
func (f *fakeKernel) byHand(change func(datapath.State)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f.state)
}

func (f *fakeKernel) has(o datapath.Object) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state[o.Key()] == o
}

func (f *fakeKernel) refuses(o datapath.Object, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		delete(f.refuse, o.Key())
		return
	}
	f.refuse[o.Key()] = err
}

// tries counts the steps about a key.
func (f *fakeKernel) tries(o datapath.Object) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, ops := range f.applied {
		for _, op := range ops {
			if op.Key() == o.Key() {
				n++
			}
		}
	}
	return n
}

func (f *fakeKernel) counts() (observed, applied int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.observed), len(f.applied)
}

var errRefused = errors.New("refused")

var (
	bridge  = datapath.Link{Name: "weft0", Type: datapath.LinkBridge, MTU: 1450}
	vxlan   = datapath.Link{Name: "weft-vx", Type: datapath.LinkVXLAN, MTU: 1450, VXLAN: datapath.VXLAN{VNI: 4096, Port: 8472, Local: netip.MustParseAddr("10.0.0.1")}}
	fabric  = datapath.Addr{Dev: "weft0", Prefix: netip.MustParsePrefix("10.42.1.0/32")}
	neigh   = datapath.Neigh{Dev: "weft-vx", IP: netip.MustParseAddr("10.42.2.0"), MAC: datapath.MAC{2, 0x57}}
	fdb     = datapath.FDB{Dev: "weft-vx", MAC: datapath.MAC{2, 0x57}, Dst: netip.MustParseAddr("10.0.0.2")}
	vtep    = datapath.Set{Name: "vtep4", Type: "ipv4_addr"}
	input   = datapath.Chain{Name: "inpolicy", Type: "filter", Hook: "input", Priority: -10}
	theirs  = element1("10.0.0.2")
	dropped = datapath.Rule{
		Chain: "inpolicy", Index: 1,
		Match: [6]datapath.Match{{Field: datapath.SAddr4, Not: true, Value: "@vtep4"}}, Do: [3]datapath.Action{{Verb: datapath.Drop}},
	}
)

func element1(elem string) datapath.Element { return datapath.Element{Set: "vtep4", Elem: elem} }

func route(i int) datapath.Route {
	return datapath.Route{
		Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 42, byte(i), 0}), 24),
		Via: netip.AddrFrom4([4]byte{10, 42, byte(i), 0}), Dev: "weft-vx", OnLink: true,
	}
}

// podObjects are the host end of one pod.
func podObjects(i int) []datapath.Object {
	dev := fmt.Sprintf("wf%011x", i)
	return []datapath.Object{
		datapath.Link{Name: dev, Type: datapath.LinkVeth},
		datapath.Route{Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 42, 1, byte(i)}), 32), Dev: dev},
		element1(fmt.Sprintf("10.42.1.%d", i)),
	}
}

func keysOf(objects ...datapath.Object) []datapath.Key {
	var out []datapath.Key
	for _, o := range objects {
		out = append(out, o.Key())
	}
	return out
}

func peers() []datapath.Object {
	return []datapath.Object{bridge, fabric, vxlan, fdb, neigh, route(2), input, vtep, theirs, dropped}
}
