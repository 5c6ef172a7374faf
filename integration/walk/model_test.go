package walk

import (
	"fmt"
	"net/netip"
	"strings"
)

// model is who uses what, as nodes have it: from the answer that gives a lease
// until an operator takes it away. It knows IPv4 only, and blocks of 256.
type model struct {
	users map[uint32]string // by the upper 24 bits of a /24
	has   map[string]uint32
}

func newModel() *model { return &model{users: map[uint32]string{}, has: map[string]uint32{}} }

// block reads a /24 from its text, without anybody's prefix arithmetic.
func block(p netip.Prefix) (uint32, error) {
	var a, b, c, d, bits uint32
	if n, err := fmt.Sscanf(p.String(), "%d.%d.%d.%d/%d", &a, &b, &c, &d, &bits); err != nil || n != 5 || bits != 24 || d != 0 {
		return 0, fmt.Errorf("%v is no /24", p)
	}
	if a != 10 || b != 42 {
		return 0, fmt.Errorf("%v is not of 10.42.0.0/16", p)
	}
	return a<<16 | b<<8 | c, nil
}

// gives says that a node was told what it has.
func (m *model) gives(node string, prefixes []netip.Prefix) error {
	if len(prefixes) != 1 {
		return fmt.Errorf("%s was given %v", node, prefixes)
	}
	b, err := block(prefixes[0])
	if err != nil {
		return err
	}
	if other, used := m.users[b]; used && other != node {
		return fmt.Errorf("%v was given to %s, and %s uses it", prefixes[0], node, other)
	}
	if had, ok := m.has[node]; ok && had != b {
		return fmt.Errorf("%s had 10.42.%d.0/24, and was renumbered to %v", node, had&0xff, prefixes[0])
	}
	m.users[b], m.has[node] = node, b
	return nil
}

// takes says that a node uses nothing any more.
func (m *model) takes(node string) {
	if b, ok := m.has[node]; ok {
		delete(m.users, b)
		delete(m.has, node)
	}
}

// String lists it, for a failure.
func (m *model) String() string {
	var words []string
	for node, b := range m.has {
		words = append(words, fmt.Sprintf("%s=%d", node, b&0xff))
	}
	return strings.Join(words, " ")
}
