package kerneltest

import (
	"fmt"
	"maps"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// transact makes one transaction of all steps of nftables. What fails takes the
// other steps on its chain with it; the rest is tried again.
func (f *Fake) transact(ops []datapath.Op, errs []error) {
	for range len(ops) + 1 {
		before := maps.Clone(f.state)
		bad := f.tryTransaction(ops, errs)
		if len(bad) == 0 {
			return
		}
		f.state = before
		for i, op := range ops {
			if err := bad[scope(op)]; err != nil && errs[i] == nil {
				errs[i] = err
			}
		}
	}
}

func (f *Fake) tryTransaction(ops []datapath.Op, errs []error) map[string]error {
	bad := map[string]error{}
	each := func(kind datapath.Kind, do func(datapath.Op) error) {
		for i, op := range ops {
			if op.Key().Kind != kind || errs[i] != nil {
				continue
			}
			if err := do(op); err != nil && bad[scope(op)] == nil {
				bad[scope(op)] = fmt.Errorf("%s: %w", op.Key().ID, err)
			}
		}
	}
	for _, kind := range []datapath.Kind{datapath.KindRule, datapath.KindElement, datapath.KindSet, datapath.KindChain} {
		each(kind, f.deleteRule)
	}
	for _, kind := range []datapath.Kind{datapath.KindSet, datapath.KindChain, datapath.KindElement, datapath.KindRule} {
		each(kind, f.addRule)
	}
	return bad
}

func (f *Fake) deleteRule(op datapath.Op) error {
	if err := f.fail[op.Key()]; err != nil {
		return err
	}
	if op.Old == nil || f.state[op.Key()] == nil {
		return nil
	}
	for _, o := range f.state {
		if refersTo(o, op.Old) {
			return fmt.Errorf("%v still refers to it: %w", o, unix.EBUSY)
		}
	}
	f.drop(op.Key())
	return nil
}

func (f *Fake) addRule(op datapath.Op) error {
	if op.New == nil {
		return nil
	}
	if err := f.fail[op.Key()]; err != nil {
		return err
	}
	for _, k := range needs(op.New) {
		if f.state[k] == nil {
			return fmt.Errorf("%s is not there: %w", k.ID, unix.ENOENT)
		}
	}
	if _, ok := op.New.(datapath.ForeignRule); ok {
		return unix.EINVAL
	}
	f.put(op)
	return nil
}

func scope(op datapath.Op) string {
	o := op.New
	if o == nil {
		o = op.Old
	}
	switch o := o.(type) {
	case datapath.Set:
		return "set " + o.Name
	case datapath.Element:
		return "element " + o.Key().ID
	case datapath.Chain:
		return "chain " + o.Name
	case datapath.Rule:
		return "chain " + o.Chain
	case datapath.ForeignRule:
		return "chain " + o.Chain
	}
	return "" // not of nftables: nothing fails there
}

// needs are the sets and chains that an object names.
func needs(o datapath.Object) []datapath.Key {
	set := func(name string) datapath.Key { return datapath.Set{Name: name}.Key() }
	chain := func(name string) datapath.Key { return datapath.Chain{Name: name}.Key() }
	var out []datapath.Key
	switch o := o.(type) {
	case datapath.Element:
		out = append(out, set(o.Set))
		if _, to, ok := strings.Cut(o.Data, " "); ok && isJump(o.Data) {
			out = append(out, chain(to))
		}
	case datapath.Rule:
		out = append(out, chain(o.Chain))
		for _, m := range o.Match {
			if name, ok := strings.CutPrefix(m.Value, "@"); ok {
				out = append(out, set(name))
			}
		}
		for _, a := range o.Do {
			if name, ok := strings.CutPrefix(a.Arg, "@"); ok {
				out = append(out, set(name))
			}
			if a.Verb == datapath.Jump || a.Verb == datapath.Goto {
				out = append(out, chain(a.Arg))
			}
		}
	}
	return out
}

func isJump(verdict string) bool {
	return strings.HasPrefix(verdict, "jump ") || strings.HasPrefix(verdict, "goto ")
}

// refersTo tells whether an object keeps another from going. A set's elements
// and a chain's rules do not: they go along.
func refersTo(o, to datapath.Object) bool {
	for _, k := range needs(o) {
		if k != to.Key() {
			continue
		}
		switch to := to.(type) {
		case datapath.Set:
			e, own := o.(datapath.Element)
			return !own || e.Set != to.Name
		case datapath.Chain:
			return !inChain(o, to.Name)
		}
	}
	return false
}

func inChain(o datapath.Object, chain string) bool {
	switch o := o.(type) {
	case datapath.Rule:
		return o.Chain == chain
	case datapath.ForeignRule:
		return o.Chain == chain
	}
	return false
}
