package datapath

import (
	"fmt"
	"slices"
	"strings"
)

// Filter is a table of somebody else's firewall with a chain where packets are
// filtered: nftables' own, those that iptables-nft writes, and those of
// iptables-legacy, which nftables does not see. Only chains that packets of these
// hooks can reach are in it.
type Filter struct {
	Family string // ip, ip6, inet
	Table  string
	Legacy bool // of iptables-legacy
	Cut    bool // there is more of it than weft reads
	Chains []FilterChain
}

// FilterChain is one chain; Hook is empty for one that is only jumped to.
type FilterChain struct {
	Name     string
	Hook     string // forward, input, output
	Priority int
	Drop     bool // policy
	Rules    []FilterRule
}

// FilterRule is one rule, as far as weft reads it.
type FilterRule struct {
	Handle  uint64 // of nftables; the place in the chain, from 1, of legacy rules
	Match   []FilterMatch
	Verdict string // accept, drop, reject, return, "jump C", "goto C"; empty: the next rule follows
	Comment string
	Mark    uint32 // bits of the packet's mark that it may change
}

// FilterMatch compares one field with values of which one must be met: names, one
// that ends in *, prefixes, ranges as 1-5. The field is "?" for what is not read.
type FilterMatch struct {
	Field  string // iifname, oifname, nfproto, l4proto, saddr, daddr, sport, dport, ct state, ct status, daddr type
	Not    bool
	Values []string
}

// Is tells whether the table goes by a family and name.
func (f Filter) Is(family, table string) bool { return f.Family == family && f.Table == table }

// Chain returns a chain by name.
func (f Filter) Chain(name string) (FilterChain, bool) {
	i := slices.IndexFunc(f.Chains, func(c FilterChain) bool { return c.Name == name })
	if i < 0 {
		return FilterChain{}, false
	}
	return f.Chains[i], true
}

// String is the rule in nft's words.
func (r FilterRule) String() string {
	var words []string
	for _, m := range r.Match {
		words = append(words, m.String())
	}
	if r.Verdict != "" {
		words = append(words, r.Verdict)
	}
	if r.Comment != "" {
		words = append(words, fmt.Sprintf("comment %q", r.Comment))
	}
	return strings.Join(words, " ")
}

// String is the match in nft's words.
func (m FilterMatch) String() string {
	not := ""
	if m.Not {
		not = "!= "
	}
	if m.Field == "?" {
		return "(…)"
	}
	v := strings.Join(m.Values, ", ")
	if len(m.Values) > 1 {
		v = "{ " + v + " }"
	}
	return m.Field + " " + not + v
}
