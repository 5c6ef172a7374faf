package admin

import (
	"fmt"
	"strings"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/proto/intent"
)

// apart names nodes that host-gw keeps from each other altogether: those that do
// not share the link of the addresses by which the pair speaks.
func (n neighbours) apart() []string {
	return n.lost(func(a, b intent.Peer) (string, bool) {
		if n.cluster.Path(a, b).Transport == intent.Direct {
			return "", false
		}
		return fmt.Sprintf("%s %v and %s %v are apart", a.Name, a.Underlay[0].Addr, b.Name, b.Underlay[0].Addr), true
	})
}

// familyless names nodes that would lose one family of the cluster between them:
// they share a link, and have no addresses of that family on it.
func (n neighbours) familyless(before intent.Cluster) []string {
	return n.lost(func(a, b intent.Peer) (string, bool) {
		p := n.cluster.Path(a, b)
		if p.Transport != intent.Direct {
			return "", false // apart
		}
		for _, is4 := range []bool{true, false} {
			if !carries(before, is4) || !carries(n.cluster, is4) || !reached(before, a, b, is4) {
				continue
			}
			if _, _, ok := p.Link(a, b, is4); !ok {
				return fmt.Sprintf("%s and %s have no %s addresses on %v", a.Name, b.Name, ipam.Family(is4), p.Local.Addr.Masked()), true
			}
		}
		return "", false
	})
}

// reached tells whether packets of a family go from a to b.
func reached(c intent.Cluster, a, b intent.Peer, is4 bool) bool {
	p := c.Path(a, b)
	if p.Transport == intent.Direct && c.Backend != intent.VXLAN { // else what is not direct is tunnelled
		_, _, ok := p.Link(a, b, is4)
		return ok
	}
	return p.Transport != intent.NoPath
}

// lost is what is said of pairs, one of each two kinds of nodes: nodes with
// addresses of the same subnets, in the same order, are alike, and there are few
// such kinds among thousands of nodes. It stops when there is more than an error
// names.
func (n neighbours) lost(say func(a, b intent.Peer) (string, bool)) []string {
	var kinds [][]intent.Peer
	index := map[string]int{}
	for _, p := range n.peers {
		if len(p.Underlay) == 0 {
			continue
		}
		k := subnets(p)
		at, there := index[k]
		if !there {
			at = len(kinds)
			index[k], kinds = at, append(kinds, nil)
		}
		if len(kinds[at]) < 2 { // one for the other kinds, one more for its own
			kinds[at] = append(kinds[at], p)
		}
	}
	var out []string
	for i, a := range kinds {
		for j, b := range kinds[i:] {
			other := b[0]
			if j == 0 {
				if len(a) < 2 {
					continue
				}
				other = a[1]
			}
			if text, bad := say(a[0], other); bad {
				if out = append(out, text); len(out) > 2*maxMisfits {
					return out
				}
			}
		}
	}
	return out
}

// subnets is what of a node's addresses decides whom it shares links with.
func subnets(p intent.Peer) string {
	var b strings.Builder
	for _, u := range p.Underlay {
		if u.Addr.Bits() == u.Addr.Addr().BitLen() { // of no subnet: like no other
			fmt.Fprintf(&b, "%v %s;", u.Addr.Addr().Is4(), u.Device)
			continue
		}
		fmt.Fprintf(&b, "%v %s;", u.Addr.Masked(), u.Device)
	}
	return b.String()
}

func carries(c intent.Cluster, is4 bool) bool {
	for _, p := range c.CIDRs {
		if p.Addr().Is4() == is4 {
			return true
		}
	}
	return false
}
