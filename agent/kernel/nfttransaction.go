package kernel

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// transaction is one call of apply.
type transaction struct {
	nft     *nft
	ops     []datapath.Op
	errs    []error
	done    []bool       // was so already
	replace map[int]bool // elements that are there with other data: delete first

	sets, chains map[string]bool  // that are there
	keys         map[string]setOf // types of the sets, of this transaction and of before
	places       map[string]*chainPlaces
	msgs         []nfMessage
	owner        []int // step of each message; -1: of none
}

// put adds a message that step i needs.
func (t *transaction) put(i int, typ, flags uint16, body attrs) {
	t.msgs = append(t.msgs, nfMessage{typ: typ, flags: flags, body: body})
	t.owner = append(t.owner, i)
}

func (t *transaction) pending(i int) bool { return t.errs[i] == nil && !t.done[i] }

// try builds the transaction and commits it. Again says that something was left
// out and the rest is still to be done.
func (t *transaction) try(ctx context.Context) (again bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := t.look(); err != nil {
		return false, err
	}
	before := t.failures()
	if t.build(); t.failures() > before {
		t.refuseScopes()
		return true, nil
	}
	if len(t.msgs) == 0 {
		return false, nil
	}
	failed, err := t.nft.sock.commit(t.msgs)
	if len(failed) == 0 {
		return false, err
	}
	for at, err := range failed {
		t.refused(at, err)
	}
	t.refuseScopes()
	return true, nil
}

// look reads what deletes and places depend on.
func (t *transaction) look() error {
	t.msgs, t.owner = t.msgs[:0], t.owner[:0]
	t.sets, t.chains, t.keys, t.places = map[string]bool{}, map[string]bool{}, map[string]setOf{}, map[string]*chainPlaces{}
	sets, err := t.nft.sets()
	if err != nil {
		return err
	}
	for _, s := range sets {
		t.sets[s.object.Name], t.keys[s.object.Name] = true, s
	}
	var kinds datapath.Kinds
	for i, op := range t.ops {
		if kind := op.Key().Kind; t.pending(i) || kind != datapath.KindRule {
			kinds |= datapath.Of(kind)
		}
	}
	if kinds.Has(datapath.KindSet) || kinds.Has(datapath.KindChain) { // elements alone need no chain
		chains, err := t.nft.chains()
		if err != nil {
			return err
		}
		for _, c := range chains {
			t.chains[c.Name] = true
		}
	}
	if kinds.Has(datapath.KindRule) {
		return t.lookAtRules()
	}
	return nil
}

func (t *transaction) lookAtRules() error {
	rules, err := t.nft.list()
	if err != nil {
		return err
	}
	for _, r := range rules {
		p := t.places[r.chain]
		if p == nil {
			p = &chainPlaces{}
			t.places[r.chain] = p
		}
		p.rules = append(p.rules, r)
	}
	return nil
}

// build writes all messages: the table, then deletes from what refers to what is
// referred to, then adds the other way round. It needs no order of the steps.
func (t *transaction) build() {
	t.put(-1, unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, inTable())
	t.flushChains()
	for _, kind := range []datapath.Kind{datapath.KindElement, datapath.KindSet, datapath.KindChain} {
		for i, op := range t.ops {
			if t.pending(i) && op.Key().Kind == kind && (op.Old != nil || t.replace[i]) {
				t.delete(i, op)
			}
		}
	}
	for _, kind := range []datapath.Kind{datapath.KindSet, datapath.KindChain, datapath.KindElement} {
		for i, op := range t.ops {
			if t.pending(i) && op.Key().Kind == kind && op.New != nil {
				t.add(i, op.New)
			}
		}
	}
	t.addRules()
	if len(t.msgs) == 1 && !t.adds() {
		t.msgs, t.owner = nil, nil // nothing to delete: make no table for it
	}
}

// flushChains deletes rules: those named, and all of a chain that goes, also what
// came into it since somebody looked.
func (t *transaction) flushChains() {
	for i, op := range t.ops {
		c, ok := op.Old.(datapath.Chain)
		if !ok || !t.pending(i) || !t.chains[c.Name] {
			continue
		}
		body := inTable()
		body.text(unix.NFTA_RULE_CHAIN, c.Name)
		t.put(i, unix.NFT_MSG_DELRULE, 0, body)
		delete(t.places, c.Name)
	}
	for i, op := range t.ops {
		if t.pending(i) && op.Key().Kind == datapath.KindRule && op.Old != nil {
			t.delete(i, op)
		}
	}
}

func (t *transaction) adds() bool {
	for i, op := range t.ops {
		if t.pending(i) && op.New != nil {
			return true
		}
	}
	return false
}

func (t *transaction) delete(i int, op datapath.Op) {
	o := op.Old
	if o == nil {
		o = op.New
	}
	switch o := o.(type) {
	case datapath.Set:
		if t.sets[o.Name] {
			t.put(i, unix.NFT_MSG_DELSET, 0, setName(o.Name))
			delete(t.keys, o.Name)
		}
	case datapath.Chain:
		if t.chains[o.Name] {
			body := inTable()
			body.text(unix.NFTA_CHAIN_NAME, o.Name)
			t.put(i, unix.NFT_MSG_DELCHAIN, 0, body)
		}
	case datapath.Element:
		if t.sets[o.Set] {
			t.elements(i, unix.NFT_MSG_DELSETELEM, 0, o)
		}
	case datapath.Rule:
		t.deleteRule(i, o.Chain, func(r placedRule) bool { return r.ours && r.index == o.Index })
	case datapath.ForeignRule:
		t.deleteRule(i, o.Chain, func(r placedRule) bool { return !r.ours && r.handle == o.Handle })
	}
}

func (t *transaction) add(i int, o datapath.Object) {
	switch o := o.(type) {
	case datapath.Set:
		t.addSet(i, o)
	case datapath.Chain:
		t.addChain(i, o)
	case datapath.Element:
		t.elements(i, unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, o)
	default:
		t.errs[i] = fmt.Errorf("%T cannot be wanted", o)
	}
}

func (t *transaction) addChain(i int, c datapath.Chain) {
	body := inTable()
	body.text(unix.NFTA_CHAIN_NAME, c.Name)
	if c.Hook != "" {
		hook := -1
		for n, name := range hooks {
			if name == c.Hook {
				hook = n
			}
		}
		if hook < 0 {
			t.errs[i] = fmt.Errorf("hook %q: known are %v", c.Hook, hooks)
			return
		}
		body.nest(unix.NFTA_CHAIN_HOOK, func(a *attrs) {
			a.u32(unix.NFTA_HOOK_HOOKNUM, uint32(hook))
			a.u32(unix.NFTA_HOOK_PRIORITY, uint32(int32(c.Priority)))
		})
		body.u32(unix.NFTA_CHAIN_POLICY, policyAccept)
		body.text(unix.NFTA_CHAIN_TYPE, c.Type)
	}
	t.put(i, unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, body)
}

// refused notes what the kernel said of one message.
func (t *transaction) refused(at int, err error) {
	i := t.owner[at]
	msg := t.msgs[at]
	switch {
	case i < 0:
		t.failRest(fmt.Errorf("table inet %s: %w", datapath.Table, err))
	case !t.pending(i):
	case errors.Is(err, unix.ENOENT) && isDelete(msg.typ) && t.ops[i].New == nil:
		t.done[i] = true
	case errors.Is(err, unix.ENOENT) && isDelete(msg.typ) && !t.replace[i]:
		t.ops[i].Old = nil // it went meanwhile: only add
	case errors.Is(err, unix.EEXIST) && msg.typ == unix.NFT_MSG_NEWSETELEM && !t.replace[i] && t.ops[i].Old == nil:
		t.replace[i] = true
	default:
		t.errs[i] = err
	}
}

func isDelete(typ uint16) bool {
	switch typ {
	case unix.NFT_MSG_DELSETELEM, unix.NFT_MSG_DELRULE, unix.NFT_MSG_DELCHAIN, unix.NFT_MSG_DELSET:
		return true
	}
	return false
}

func (t *transaction) failures() int {
	n := 0
	for _, err := range t.errs {
		if err != nil {
			n++
		}
	}
	return n
}

// refuseScopes gives the error of a step to all others in its scope.
func (t *transaction) refuseScopes() {
	bad := map[string]error{}
	for i, err := range t.errs {
		if s := scope(object(t.ops[i])); err != nil && bad[s] == nil {
			bad[s] = fmt.Errorf("not done, because of %v: %w", t.ops[i].Key().ID, err)
		}
	}
	for i, op := range t.ops {
		if err := bad[scope(object(op))]; err != nil && t.errs[i] == nil {
			t.errs[i] = err
		}
	}
}

func object(op datapath.Op) datapath.Object {
	if op.New != nil {
		return op.New
	}
	return op.Old
}

func (t *transaction) failRest(err error) {
	for i := range t.errs {
		if t.pending(i) {
			t.errs[i] = err
		}
	}
}

// tidy removes the table when the last of it was deleted.
func (t *transaction) tidy() error {
	containers := false
	for _, op := range t.ops {
		kind := op.Key().Kind
		containers = containers || kind == datapath.KindSet || kind == datapath.KindChain
		if op.New != nil {
			return nil
		}
	}
	if !containers {
		return nil
	}
	if err := t.look(); err != nil || len(t.sets)+len(t.chains) > 0 {
		return err
	}
	_, err := t.nft.deleteTable()
	return err
}

// deleteTable removes the table with all in it, and says whether it was there.
func (n *nft) deleteTable() (was bool, err error) {
	failed, err := n.sock.commit([]nfMessage{{typ: unix.NFT_MSG_DELTABLE, body: inTable()}})
	switch ferr := failed[0]; {
	case errors.Is(ferr, unix.ENOENT):
		return false, nil
	case ferr != nil:
		return false, fmt.Errorf("remove table inet %s: %w", datapath.Table, ferr)
	}
	return err == nil, err
}
