package reconcile

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

// fakeKernel is the fake of package kernel, with what somebody else does to it.
type fakeKernel struct {
	*kerneltest.Fake
	mu       sync.Mutex
	unseen   error  // Observe fails
	undo     func() // somebody fights, after each Apply
	own      bool   // own steps come back as events, as in a real kernel
	kick     func(datapath.Kinds)
	observed int
	applied  [][]datapath.Op
}

func newFake() *fakeKernel { return &fakeKernel{Fake: kerneltest.New("eth0")} }

// Observe implements Kernel.
func (f *fakeKernel) Observe(ctx context.Context, kinds datapath.Kinds) (datapath.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.observed++
	if f.unseen != nil {
		return nil, f.unseen
	}
	return f.Fake.Observe(ctx, kinds)
}

// Apply implements Kernel.
func (f *fakeKernel) Apply(ctx context.Context, ops []datapath.Op) []error {
	f.mu.Lock()
	f.applied = append(f.applied, slices.Clone(ops))
	undo, own := f.undo, f.own
	f.mu.Unlock()
	errs := f.Fake.Apply(ctx, ops)
	var touched datapath.Kinds
	for i, op := range ops {
		if errs[i] == nil {
			touched |= datapath.Of(op.Key().Kind)
		}
	}
	if own && touched != 0 {
		f.kick(touched)
	}
	if undo != nil {
		undo()
	}
	return errs
}

// locked changes the fake's behaviour.
func (f *fakeKernel) locked(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeKernel) has(o datapath.Object) bool {
	have, ok := f.State()[o.Key()]
	return ok && len(datapath.Diff(datapath.State{o.Key(): o}, datapath.State{o.Key(): have})) == 0
}

// tries counts the steps about an object.
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
	return f.observed, len(f.applied)
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

// podLink is the veth that package pod makes before it calls Sync.
func podLink(i int) datapath.Link {
	return datapath.Link{Name: fmt.Sprintf("wf%011x", i), Type: datapath.LinkVeth}
}

// podObjects are the host end of one pod.
func podObjects(i int) []datapath.Object {
	return []datapath.Object{
		podLink(i),
		datapath.Route{Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 42, 1, byte(i)}), 32), Dev: podLink(i).Name},
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
