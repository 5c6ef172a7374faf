package walk

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// block is one prefix that nodes lease: a /24 of 10.42.0.0/15 by its upper 24 bits, a
// /64 of fd42:42::/48 by its 16 bits above 1<<31. The model has its own arithmetic.
type block uint32

const six block = 1 << 31

func (b block) String() string {
	if b&six != 0 {
		return fmt.Sprintf("fd42:42:0:%x::/64", uint32(b&^six))
	}
	return fmt.Sprintf("%d.%d.%d.0/24", b>>16&0xff, b>>8&0xff, b&0xff)
}

// readBlock reads a prefix from its text, without anybody's prefix arithmetic.
func readBlock(p netip.Prefix) (block, error) {
	text := p.String()
	if text == "fd42:42::/64" {
		return six, nil
	}
	if rest, ok := strings.CutPrefix(text, "fd42:42:0:"); ok {
		n, err := strconv.ParseUint(strings.TrimSuffix(rest, "::/64"), 16, 16)
		if b := six | block(n); err == nil && b.String() == text {
			return b, nil
		}
	}
	parts := strings.Split(strings.TrimSuffix(text, ".0/24"), ".")
	if len(parts) == 3 && parts[0] == "10" && (parts[1] == "42" || parts[1] == "43") {
		n, err := strconv.ParseUint(parts[2], 10, 8)
		b := block(10<<16 | 42<<8 | n)
		if parts[1] == "43" {
			b += 1 << 8
		}
		if err == nil && b.String() == text {
			return b, nil
		}
	}
	return 0, fmt.Errorf("%v is no /24 of 10.42.0.0/15, and no /64 of fd42:42::/48", p)
}

func readBlocks(prefixes []netip.Prefix) ([]block, error) {
	var out []block
	for _, p := range prefixes {
		b, err := readBlock(p)
		if err != nil {
			return nil, err
		}
		if slices.Contains(out, b) {
			return nil, fmt.Errorf("%v is there twice", p)
		}
		out = append(out, b)
	}
	return out, nil
}

// said is a node that is said to have a block.
type said struct {
	node string
	block
}

// model is what doc.go of server/lease promises, judged by who knows all. A node holds
// a prefix from the answer that names it until it has closed it, or was deleted.
type model struct {
	clock   int
	holds   map[block]map[string]int // since when, by node
	of      map[string]map[block]bool
	heard   map[said]bool // of those that hold: it was said since the store was lost, by whomever
	excused map[said]bool // was told, or may have been, when nobody knew better
	lost    int           // times that the store was lost
	beaten  int           // prefixes that two hold, which nobody could know
}

func newModel() *model {
	return &model{holds: map[block]map[string]int{}, of: map[string]map[block]bool{}, heard: map[said]bool{}, excused: map[said]bool{}}
}

func (m *model) tick() int { m.clock++; return m.clock }

// promises says that the store gave a node what it has, whether the node learns of it
// or not: that must be nobody's who was heard of.
func (m *model) promises(node string, prefixes []netip.Prefix) error {
	now, err := readBlocks(prefixes)
	if err != nil {
		return fmt.Errorf("%s was given %v: %w", node, prefixes, err)
	}
	for _, b := range now {
		if _, mine := m.holds[b][node]; mine || m.excused[said{node, b}] {
			continue
		}
		for other := range m.holds[b] {
			if m.heard[said{other, b}] || m.lost == 0 {
				return fmt.Errorf("%v was given to %s, and %s holds it", b, node, other)
			}
			m.beaten++
		}
		m.excused[said{node, b}] = true
	}
	return nil
}

// answers says that a node learned what it has: all that it holds, and perhaps more.
func (m *model) answers(node string, prefixes []netip.Prefix) error {
	if err := m.promises(node, prefixes); err != nil {
		return err
	}
	now, err := readBlocks(prefixes)
	if err != nil {
		return err
	}
	if len(now) == 0 {
		return fmt.Errorf("%s was told nothing, and let in", node)
	}
	for b := range m.of[node] {
		if !slices.Contains(now, b) {
			return fmt.Errorf("%s holds %v, and was renumbered to %v", node, b, prefixes)
		}
	}
	for _, b := range now {
		if m.holds[b] == nil {
			m.holds[b] = map[string]int{}
		}
		if _, mine := m.holds[b][node]; !mine {
			m.holds[b][node] = m.tick()
		}
		m.heard[said{node, b}] = true
		if m.of[node] == nil {
			m.of[node] = map[block]bool{}
		}
		m.of[node][b] = true
	}
	return nil
}

// hears says that somebody said what a node had at a time, and was listened to.
func (m *model) hears(node string, prefixes []netip.Prefix, at int) {
	bs, err := readBlocks(prefixes)
	if err != nil {
		panic(err)
	}
	for _, b := range bs {
		if since, holds := m.holds[b][node]; holds && since <= at {
			m.heard[said{node, b}] = true
		}
	}
}

// closes says that a node holds a prefix no more.
func (m *model) closes(node string, p netip.Prefix) {
	b, err := readBlock(p)
	if err != nil {
		panic(err)
	}
	m.leaves(node, b)
}

func (m *model) leaves(node string, b block) {
	delete(m.holds[b], node)
	delete(m.of[node], b)
	delete(m.heard, said{node, b})
	delete(m.excused, said{node, b})
}

// deleted says that a node is none of the fabric any more: what it does is nothing to
// anybody.
func (m *model) deleted(node string) {
	for b := range m.of[node] {
		m.leaves(node, b)
	}
	delete(m.of, node)
	maps.DeleteFunc(m.excused, func(s said, _ bool) bool { return s.node == node })
}

// renamed says that a node has another name from now on.
func (m *model) renamed(from, to string) {
	now := m.tick()
	for b := range m.of[from] {
		delete(m.holds[b], from)
		m.holds[b][to] = now
		for _, facts := range []map[said]bool{m.heard, m.excused} {
			if facts[said{from, b}] {
				facts[said{to, b}] = true
				delete(facts, said{from, b})
			}
		}
	}
	m.of[to] = m.of[from]
	delete(m.of, from)
	maps.DeleteFunc(m.excused, func(s said, _ bool) bool { return s.node == from })
}

// memory is what a backup knows of who was heard.
type memory struct {
	at    int
	heard map[said]bool
}

func (m *model) remembers() memory { return memory{m.tick(), maps.Clone(m.heard)} }

// forgets says that the store was lost, and made again of a memory.
func (m *model) forgets(of memory) {
	m.lost++
	m.heard, m.excused = map[said]bool{}, map[said]bool{}
	for s := range of.heard {
		if since, holds := m.holds[s.block][s.node]; holds && since <= of.at {
			m.heard[s] = true
		}
	}
}

// String lists it, for a failure.
func (m *model) String() string {
	var words []string
	for node, bs := range m.of {
		word := node
		for b := range bs {
			word += " " + b.String()
			if !m.heard[said{node, b}] {
				word += "(unheard)"
			}
		}
		words = append(words, word)
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}
