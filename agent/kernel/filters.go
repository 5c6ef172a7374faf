package kernel

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// mostRules bounds what is read of one foreign table: hosts with a rule for each
// service have tens of thousands, none of which drops what is not its own.
const mostRules = 4096

// filterHooks are where packets are filtered.
var filterHooks = []string{"input", "forward", "output"}

// Filters lists the firewalls of others, nftables' and iptables-legacy's. It reads
// all their rules: call it when Stirs has changed, not every time.
func (k *Kernel) Filters(ctx context.Context) ([]datapath.Filter, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	out, err := k.nft.filters()
	if err != nil {
		return nil, err
	}
	legacy, err := k.legacyFilters()
	return append(out, legacy...), err
}

// Stirs counts the events about nftables of others since the kernel was opened;
// while Watch does not run it stands still.
func (k *Kernel) Stirs() uint64 { return k.nft.others.stirs.Load() }

// Stirred gets a value soon after Stirs has changed. Its room is for one.
func (k *Kernel) Stirred() <-chan struct{} { return k.nft.others.stirred }

func (n *nft) filters() ([]datapath.Filter, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []datapath.Filter
	for _, f := range families {
		list, err := n.sock.dumpOf(f.number, unix.NFT_MSG_GETCHAIN, nil)
		if err != nil {
			return nil, fmt.Errorf("kernel: list of chains of family %s: %w", f.name, err)
		}
		tables, err := filterTables(f.number, f.name, list)
		if err != nil {
			return nil, err
		}
		for _, t := range tables {
			if err := n.fill(f.number, &t); err != nil {
				return nil, err
			}
			out = append(out, t)
		}
	}
	return out, nil
}

// filterTables keeps the tables of others with a base chain that filters.
func filterTables(number uint8, family string, list [][]byte) ([]datapath.Filter, error) {
	var all []datapath.Filter
	base := map[string]bool{}
	for _, b := range list {
		c, table, err := parseChain(b)
		if err != nil {
			return nil, err
		}
		if number == inetFamily && table == datapath.Table {
			continue
		}
		i := slices.IndexFunc(all, func(f datapath.Filter) bool { return f.Table == table })
		if i < 0 {
			all, i = append(all, datapath.Filter{Family: family, Table: table}), len(all)
		}
		typ, drop := strings.CutSuffix(c.Type, " policy drop")
		chain := datapath.FilterChain{Name: c.Name, Priority: c.Priority, Drop: drop}
		if typ == "filter" && slices.Contains(filterHooks, c.Hook) {
			chain.Hook, base[table] = c.Hook, true
		}
		all[i].Chains = append(all[i].Chains, chain)
	}
	return slices.DeleteFunc(all, func(f datapath.Filter) bool { return !base[f.Table] }), nil
}

// fill reads the rules of a table, and leaves out chains that none of the base
// chains leads to.
func (n *nft) fill(family uint8, f *datapath.Filter) error {
	var reached []datapath.FilterChain
	seen := map[string]bool{}
	var todo []string
	for _, c := range f.Chains {
		if c.Hook != "" {
			todo = append(todo, c.Name)
		}
	}
	total := 0
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		c, ok := f.Chain(name)
		if !ok || seen[name] {
			continue
		}
		seen[name] = true
		if total < mostRules {
			var err error
			if c.Rules, err = n.rulesOf(family, f.Table, name); err != nil {
				return err
			}
		} else {
			f.Cut = true
		}
		total += len(c.Rules)
		for _, r := range c.Rules {
			if verb, target, ok := strings.Cut(r.Verdict, " "); ok && (verb == "jump" || verb == "goto") {
				todo = append(todo, target)
			}
		}
		reached = append(reached, c)
	}
	f.Chains = reached
	return nil
}

func (n *nft) rulesOf(family uint8, table, chain string) ([]datapath.FilterRule, error) {
	var body attrs
	body.text(unix.NFTA_RULE_TABLE, table)
	body.text(unix.NFTA_RULE_CHAIN, chain)
	list, err := n.sock.dumpOf(family, unix.NFT_MSG_GETRULE, body)
	if err != nil {
		return nil, fmt.Errorf("kernel: list of rules of chain %s: %w", chain, err)
	}
	var out []datapath.FilterRule
	for _, b := range list {
		in, rules, err := readForeign(family, b, func(set string) ([]rawElement, error) { return n.elementsOf(family, table, set) })
		if err != nil {
			return nil, err
		}
		if in == chain {
			out = append(out, rules...)
		}
	}
	return out, nil
}

// elementsOf lists the set of one rule: those are short.
func (n *nft) elementsOf(family uint8, table, set string) ([]rawElement, error) {
	var body attrs
	body.text(unix.NFTA_SET_ELEM_LIST_TABLE, table)
	body.text(unix.NFTA_SET_ELEM_LIST_SET, set)
	list, err := n.sock.dumpOf(family, unix.NFT_MSG_GETSETELEM, body)
	if err != nil {
		return nil, fmt.Errorf("kernel: list of elements of set %s: %w", set, err)
	}
	var out []rawElement
	for _, b := range list {
		if out, err = parseElements(out, b); err != nil {
			return nil, err
		}
	}
	return out, nil
}
