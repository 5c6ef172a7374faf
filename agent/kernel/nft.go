package kernel

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// nft speaks for table inet weft. It is safe for concurrent use.
type nft struct {
	mu    sync.Mutex
	sock  *nfSocket
	rules map[ruleID]datapath.Rule // of this process: see userdata

	others others
}

func openNFT() (*nft, error) {
	s, err := openNFSocket()
	if err != nil {
		return nil, err
	}
	n := &nft{sock: s, rules: map[ruleID]datapath.Rule{}}
	n.others.stirred = make(chan struct{}, 1)
	return n, nil
}

func (n *nft) close() error { return n.sock.close() }

// inTable are the attributes that most requests begin with: attribute 1 is the
// table's name in all of them.
func inTable() attrs {
	var a attrs
	a.text(unix.NFTA_TABLE_NAME, datapath.Table)
	return a
}

func (n *nft) observe(ctx context.Context, kinds datapath.Kinds, s datapath.State) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if kinds.Has(datapath.KindSet) || kinds.Has(datapath.KindElement) {
		if err := n.observeSets(ctx, kinds, s); err != nil {
			return err
		}
	}
	if kinds.Has(datapath.KindChain) {
		chains, err := n.chains()
		if err != nil {
			return err
		}
		for _, c := range chains {
			s[c.Key()] = c
		}
		asleep, err := n.asleep()
		if err != nil {
			return err
		}
		if asleep {
			s[datapath.Dormant{}.Key()] = datapath.Dormant{}
		}
	}
	if !kinds.Has(datapath.KindRule) {
		return nil
	}
	rules, err := n.list()
	if err != nil {
		return err
	}
	for _, r := range rules {
		s[r.object.Key()] = r.object
	}
	return nil
}

// hooks of family inet (enum nf_inet_hooks).
var hooks = []string{"prerouting", "input", "forward", "output", "postrouting"}

const policyAccept = 1 // NF_ACCEPT

// chains lists the table's chains. One whose policy is not accept has it behind
// its type, so that it differs from all that is wanted.
func (n *nft) chains() ([]datapath.Chain, error) {
	list, err := n.sock.dump(unix.NFT_MSG_GETCHAIN, nil)
	if err != nil {
		return nil, fmt.Errorf("kernel: list of chains: %w", err)
	}
	var out []datapath.Chain
	for _, b := range list {
		c, table, err := parseChain(b)
		if err != nil {
			return nil, err
		}
		if table == datapath.Table {
			out = append(out, c)
		}
	}
	return out, nil
}

func parseChain(b []byte) (c datapath.Chain, table string, err error) {
	policy := uint32(policyAccept)
	var hook []byte
	err = each(b, func(typ uint16, v []byte) {
		switch typ {
		case unix.NFTA_CHAIN_TABLE:
			table = text(v)
		case unix.NFTA_CHAIN_NAME:
			c.Name = text(v)
		case unix.NFTA_CHAIN_TYPE:
			c.Type = text(v)
		case unix.NFTA_CHAIN_POLICY:
			policy = u32(v)
		case unix.NFTA_CHAIN_HOOK:
			hook = v
		}
	})
	if err != nil || hook == nil {
		return c, table, err
	}
	err = each(hook, func(typ uint16, v []byte) {
		switch typ {
		case unix.NFTA_HOOK_HOOKNUM:
			c.Hook = fmt.Sprintf("hook %d", u32(v))
			if i := u32(v); int(i) < len(hooks) {
				c.Hook = hooks[i]
			}
		case unix.NFTA_HOOK_PRIORITY:
			c.Priority = int(int32(u32(v)))
		}
	})
	if policy != policyAccept {
		c.Type += " policy drop"
	}
	return c, table, err
}

// apply makes one transaction of all steps. When the kernel refuses it, what it
// refused because it is done already is left out; a step on a rule that is truly
// refused takes the others on its chain with it, so that a chain is either wholly
// new or wholly as it was; an element stands alone. The rest is tried again.
func (n *nft) apply(ctx context.Context, ops []datapath.Op) []error {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := transaction{nft: n, ops: ops, errs: make([]error, len(ops)), done: make([]bool, len(ops)), replace: map[int]bool{}}
	for i, op := range ops {
		if op.Old == datapath.Object(datapath.Dormant{}) {
			t.errs[i], t.done[i] = n.wake(), true
		}
	}
	for range len(ops) + 1 {
		again, err := t.try(ctx)
		if err != nil {
			t.failRest(err)
		}
		if !again || err != nil {
			break
		}
	}
	if err := t.tidy(); err != nil {
		t.failRest(err)
	}
	return t.errs
}

// RemoveTable removes the node's nftables table with all that is still in it, and
// says whether it was there: the last step of a cleanup. Apply removes it with its
// last object, but a table that was empty already holds none.
func (k *Kernel) RemoveTable() (was bool, err error) {
	k.nft.mu.Lock()
	defer k.nft.mu.Unlock()
	if was, err = k.nft.deleteTable(); err != nil {
		return was, fmt.Errorf("kernel: %w", err)
	}
	return was, nil
}

// scope is what stands or falls together.
func scope(o datapath.Object) string {
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
	return ""
}

// target is the chain that a verdict leads to.
func target(words string) (kind, chain string) {
	kind, chain, _ = strings.Cut(words, " ")
	return kind, chain
}
