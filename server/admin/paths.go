package admin

import (
	"net/netip"

	"github.com/weft-net/weft/proto/intent"
)

// Pairs of nodes are counted without looking at each: whether a pair is routed,
// tunnelled or apart depends on which families the two have, in which order, and
// on whether they share the link of the family that they use. So 10,000 nodes,
// 50 million pairs, cost 10,000 steps.

// shape is the families of a node's underlay in their order.
type shape struct{ first, second byte } // 4, 6, or 0 for none

// combination is what a pair's transport depends on; low is the lower-named node.
type combination struct {
	low, high shape
	shared    bool
}

// link is a family's subnet that several nodes may be on.
type link struct {
	prefix netip.Prefix
}

// countPaths counts pairs by transport. Peers are sorted by name.
func countPaths(c intent.Cluster, peers []intent.Peer) map[intent.Transport]int {
	if c.Toward("", "").Backend == intent.Tailnet {
		return countTailnet(peers)
	}
	pairs := map[combination]int{}
	seen := map[shape]int{}
	onLink := map[link]map[shape]int{}
	for _, p := range peers {
		high := shapeOf(p)
		for low, n := range seen {
			pairs[combination{low, high, false}] += n
		}
		seen[high]++
		for _, family := range []byte{high.first, high.second} {
			l, ok := linkOf(p, family)
			if !ok {
				continue
			}
			for low, n := range onLink[l] {
				if chosen(low, high) == family {
					pairs[combination{low, high, false}] -= n
					pairs[combination{low, high, true}] += n
				}
			}
			if onLink[l] == nil {
				onLink[l] = map[shape]int{}
			}
			onLink[l][high]++
		}
	}
	out := map[intent.Transport]int{}
	for k, n := range pairs {
		if n > 0 {
			out[transport(c, k)] += n
		}
	}
	return out
}

// countTailnet counts pairs of members of a tailnet, and all others.
func countTailnet(peers []intent.Peer) map[intent.Transport]int {
	in, out := 0, map[intent.Transport]int{}
	for _, p := range peers {
		if _, ok := p.InTailnet(); ok {
			in++
		}
	}
	pairs := func(n int) int { return n * (n - 1) / 2 }
	if both := pairs(in); both > 0 {
		out[intent.ByTailnet] = both
	}
	if others := pairs(len(peers)) - pairs(in); others > 0 {
		out[intent.NoPath] = others
	}
	return out
}

func shapeOf(p intent.Peer) shape {
	var s shape
	for _, u := range p.Underlay {
		f := family(u.Addr.Addr().Is4())
		switch {
		case s.first == 0:
			s.first = f
		case s.second == 0 && s.first != f:
			s.second = f
		}
	}
	return s
}

func family(is4 bool) byte {
	if is4 {
		return 4
	}
	return 6
}

func linkOf(p intent.Peer, f byte) (link, bool) {
	u, ok := p.UnderlayOf(f == 4)
	if f == 0 || !ok || u.Addr.Bits() == u.Addr.Addr().BitLen() {
		return link{}, false
	}
	return link{u.Addr.Masked()}, true
}

// chosen is the family that a pair uses: the first of the lower-named node that
// both have.
func chosen(low, high shape) byte {
	for _, f := range []byte{low.first, low.second} {
		if f != 0 && (f == high.first || f == high.second) {
			return f
		}
	}
	return 0
}

// transport asks the rule itself, about two nodes of documentation's addresses
// (RFC 5737, RFC 3849) that are like all of a combination.
func transport(c intent.Cluster, k combination) intent.Transport {
	a := intent.Peer{Name: "a", Underlay: underlayOf(k.low, 1, true)}
	b := intent.Peer{Name: "b", Underlay: underlayOf(k.high, 2, k.shared)}
	return c.Path(a, b).Transport
}

func underlayOf(s shape, host byte, home bool) []intent.Underlay {
	var out []intent.Underlay
	for _, f := range []byte{s.first, s.second} {
		a4, a6 := [4]byte{192, 0, 2, host}, [16]byte{0x20, 0x01, 0x0d, 0xb8, 15: host}
		if !home {
			a4, a6[7] = [4]byte{198, 51, 100, host}, 1
		}
		switch f {
		case 4:
			out = append(out, intent.Underlay{Addr: netip.PrefixFrom(netip.AddrFrom4(a4), 24), MTU: 1500})
		case 6:
			out = append(out, intent.Underlay{Addr: netip.PrefixFrom(netip.AddrFrom16(a6), 64), MTU: 1500})
		}
	}
	return out
}
