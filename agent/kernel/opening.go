package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// Insert puts a rule first into a chain of somebody else's table, with its comment
// as nft keeps comments: the tool's own opening, never any other chain. It is the
// caller's to know which those are.
func (k *Kernel) Insert(family, table string, r datapath.Rule) error {
	number, err := familyNumber(family)
	if err != nil {
		return err
	}
	exprs, err := compile(r)
	if err != nil {
		return fmt.Errorf("kernel: rule for chain %s: %w", r.Chain, err)
	}
	var body attrs
	body.text(unix.NFTA_RULE_TABLE, table)
	body.text(unix.NFTA_RULE_CHAIN, r.Chain)
	body.nest(unix.NFTA_RULE_EXPRESSIONS, func(a *attrs) {
		for _, e := range exprs {
			a.bytes(listElem|unix.NLA_F_NESTED, e)
		}
	})
	comment := append([]byte(r.Comment), 0)
	body.bytes(unix.NFTA_RULE_USERDATA, append([]byte{0, byte(len(comment))}, comment...)) // NFTNL_UDATA_RULE_COMMENT
	return k.nft.foreign(nfMessage{typ: unix.NFT_MSG_NEWRULE, flags: unix.NLM_F_CREATE, body: body, family: number}, family, table, r.Chain)
}

// Withdraw removes a rule that Insert made, by the handle that Filters told. One
// that is gone is success.
func (k *Kernel) Withdraw(family, table, chain string, handle uint64) error {
	number, err := familyNumber(family)
	if err != nil {
		return err
	}
	var body attrs
	body.text(unix.NFTA_RULE_TABLE, table)
	body.text(unix.NFTA_RULE_CHAIN, chain)
	body.u64(unix.NFTA_RULE_HANDLE, handle)
	err = k.nft.foreign(nfMessage{typ: unix.NFT_MSG_DELRULE, body: body, family: number}, family, table, chain)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func familyNumber(name string) (uint8, error) {
	for _, f := range families {
		if f.name == name {
			return f.number, nil
		}
	}
	return 0, fmt.Errorf("kernel: %q is no family of nftables", name)
}

// foreign sends one message about another's table.
func (n *nft) foreign(m nfMessage, family, table, chain string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	failed, err := n.sock.commit([]nfMessage{m})
	if err == nil {
		err = failed[0]
	}
	if err != nil {
		return fmt.Errorf("kernel: table %s %s, chain %s: %w", family, table, chain, err)
	}
	return nil
}
