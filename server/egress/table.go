package egress

import (
	"net/netip"
	"slices"
)

// table says which nodes have which prefixes. A look-up takes a step for each
// length of prefix that is in it, however many prefixes there are.
type table struct {
	owners  map[netip.Prefix][]string // sorted, never changed in place
	lengths [2][129]int               // prefixes of a length: of IPv4, of IPv6
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// add says that a node has a prefix, which is masked.
func (t *table) add(p netip.Prefix, node string) {
	if t.owners == nil {
		t.owners = map[netip.Prefix][]string{}
	}
	held := t.owners[p]
	at, there := slices.BinarySearch(held, node)
	if there {
		return
	}
	if len(held) == 0 {
		t.lengths[family(p.Addr())][p.Bits()]++
	}
	t.owners[p] = slices.Insert(slices.Clone(held), at, node)
}

// remove says that it has it no more.
func (t *table) remove(p netip.Prefix, node string) {
	held := t.owners[p]
	at, there := slices.BinarySearch(held, node)
	if !there {
		return
	}
	if len(held) == 1 {
		delete(t.owners, p)
		t.lengths[family(p.Addr())][p.Bits()]--
		return
	}
	t.owners[p] = slices.Delete(slices.Clone(held), at, at+1)
}

// find answers with the longest prefix that holds an address, and whose it is.
func (t *table) find(a netip.Addr) (netip.Prefix, []string) {
	lengths := &t.lengths[family(a)]
	for bits := a.BitLen(); bits >= 0; bits-- {
		if lengths[bits] == 0 {
			continue
		}
		p, _ := a.Prefix(bits)
		if held := t.owners[p]; held != nil {
			return p, held
		}
	}
	return netip.Prefix{}, nil
}

// claims are what objects have put into a table, so that it can be taken out again.
// A node may have a prefix by several objects: endpoints of one pod.
type claims struct {
	table
	by    map[string][]netip.Prefix // what an object says, by its key
	times map[claim]int
}

type claim struct {
	prefix netip.Prefix
	node   string
}

// set makes what an object says of a node what is given; nothing takes it away.
func (c *claims) set(key, node string, prefixes []netip.Prefix) {
	if c.by == nil {
		c.by, c.times = map[string][]netip.Prefix{}, map[claim]int{}
	}
	before := c.by[key]
	for _, p := range prefixes { // new before old: what stays is never missing
		k := claim{p, node}
		if c.times[k]++; c.times[k] == 1 {
			c.add(p, node)
		}
	}
	for _, p := range before {
		k := claim{p, node}
		if c.times[k]--; c.times[k] == 0 {
			delete(c.times, k)
			c.remove(p, node)
		}
	}
	if len(prefixes) == 0 {
		delete(c.by, key)
		return
	}
	c.by[key] = prefixes
}
