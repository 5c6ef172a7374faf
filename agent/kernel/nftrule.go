package kernel

import (
	"cmp"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// placedRule is a rule of the table where it stands.
type placedRule struct {
	chain  string
	handle uint64
	ours   bool
	index  int             // of ours
	object datapath.Object // Rule or ForeignRule
}

// list reads all rules of the table, in their order. A rule is ours if its
// userdata says which rule it is and it stands behind those with a lower index;
// everything else is foreign.
func (n *nft) list() ([]placedRule, error) {
	list, err := n.sock.dump(unix.NFT_MSG_GETRULE, inTable())
	if err != nil {
		return nil, fmt.Errorf("kernel: list of rules: %w", err)
	}
	last := map[string]int{}
	var out []placedRule
	for _, b := range list {
		r, udata, table, err := parseRule(b)
		if err != nil {
			return nil, err
		}
		if table != datapath.Table {
			continue
		}
		r.object = datapath.ForeignRule{Chain: r.chain, Handle: r.handle}
		o, ok := n.identify(r.chain, udata)
		if before, any := last[r.chain]; ok && (!any || o.Index > before) {
			r.ours, r.index, r.object = true, o.Index, o
			last[r.chain] = o.Index
		}
		out = append(out, r)
	}
	return out, nil
}

func parseRule(b []byte) (r placedRule, udata []byte, table string, err error) {
	err = each(b, func(typ uint16, v []byte) {
		switch typ {
		case unix.NFTA_RULE_TABLE:
			table = text(v)
		case unix.NFTA_RULE_CHAIN:
			r.chain = text(v)
		case unix.NFTA_RULE_HANDLE:
			r.handle = u64(v)
		case unix.NFTA_RULE_USERDATA:
			udata = v
		}
	})
	return r, udata, table, err
}

// chainPlaces is a chain while a transaction is built: the rules that were there
// before, without those that it deletes.
type chainPlaces struct {
	rules []placedRule
}

// before is the handle of the first of our rules behind an index, or 0.
func (c *chainPlaces) before(index int) uint64 {
	if c == nil {
		return 0
	}
	for _, r := range c.rules {
		if r.ours && r.index > index {
			return r.handle
		}
	}
	return 0
}

func (t *transaction) deleteRule(i int, chain string, which func(placedRule) bool) {
	p := t.places[chain]
	if p == nil {
		return
	}
	at := slices.IndexFunc(p.rules, which)
	if at < 0 {
		return
	}
	body := inTable()
	body.text(unix.NFTA_RULE_CHAIN, chain)
	body.u64(unix.NFTA_RULE_HANDLE, p.rules[at].handle)
	t.put(i, unix.NFT_MSG_DELRULE, 0, body)
	p.rules = slices.Delete(slices.Clone(p.rules), at, at+1)
}

// addRules adds the rules of each chain in their order, each before the first of
// ours that stays and has a higher index. A rule of ours that is there under the
// same index makes way.
func (t *transaction) addRules() {
	var at []int
	for i, op := range t.ops {
		if _, ok := op.New.(datapath.Rule); ok && t.pending(i) {
			at = append(at, i)
		}
	}
	slices.SortStableFunc(at, func(a, b int) int {
		x, y := t.ops[a].New.(datapath.Rule), t.ops[b].New.(datapath.Rule)
		return cmp.Or(cmp.Compare(x.Chain, y.Chain), cmp.Compare(x.Index, y.Index))
	})
	for _, i := range at {
		r := t.ops[i].New.(datapath.Rule)
		t.deleteRule(i, r.Chain, func(p placedRule) bool { return p.ours && p.index == r.Index })
	}
	for _, i := range at {
		t.addRule(i, t.ops[i].New.(datapath.Rule))
	}
}

func (t *transaction) addRule(i int, r datapath.Rule) {
	exprs, err := compile(r)
	if err != nil {
		t.errs[i] = err
		return
	}
	body := inTable()
	body.text(unix.NFTA_RULE_CHAIN, r.Chain)
	body.nest(unix.NFTA_RULE_EXPRESSIONS, func(a *attrs) {
		for _, e := range exprs {
			a.bytes(listElem|unix.NLA_F_NESTED, e)
		}
	})
	flags := uint16(unix.NLM_F_CREATE | unix.NLM_F_APPEND)
	if h := t.places[r.Chain].before(r.Index); h != 0 {
		body.u64(unix.NFTA_RULE_POSITION, h)
		flags = unix.NLM_F_CREATE
	}
	body.bytes(unix.NFTA_RULE_USERDATA, t.nft.userdata(r))
	t.put(i, unix.NFT_MSG_NEWRULE, flags, body)
}
