package ipam

import (
	"fmt"
	"math"
	"net/netip"
)

// Last is the all-ones address of a prefix: in IPv4 its broadcast address.
func Last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		setBit(b, i)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// Count is how many prefixes of a length lie in p, at most math.MaxInt64, and 0
// for a length that p has no prefixes of.
func Count(p netip.Prefix, bits int) int64 {
	switch n := bits - p.Bits(); {
	case n < 0 || bits > p.Addr().BitLen():
		return 0
	case n > 62:
		return math.MaxInt64
	default:
		return 1 << n
	}
}

// Contains tells whether all of inner lies in outer.
func Contains(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// Overlap finds the first two of several prefixes that overlap.
func Overlap(ps []netip.Prefix) (a, b netip.Prefix, found bool) {
	for i, p := range ps {
		for _, q := range ps[:i] {
			if p.Overlaps(q) {
				return q, p, true
			}
		}
	}
	return netip.Prefix{}, netip.Prefix{}, false
}

// Covering is the shortest prefix that holds all of ps, which are of one family.
func Covering(ps []netip.Prefix) netip.Prefix {
	if len(ps) == 0 {
		return netip.Prefix{}
	}
	out := ps[0].Masked()
	for _, p := range ps[1:] {
		for out.Bits() > 0 && !Contains(out, p) {
			out = netip.PrefixFrom(out.Addr(), out.Bits()-1).Masked()
		}
	}
	return out
}

// special ranges are never pods' or nodes' leases: their addresses mean
// something to every kernel.
var special = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "\"this network\" (RFC 1122, section 3.2.1.3)"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback (RFC 1122, section 3.2.1.3)"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local (RFC 3927)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast (RFC 5771)"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved and broadcast (RFC 1112, section 4)"},
	{netip.MustParsePrefix("::/127"), "unspecified and loopback (RFC 4291, section 2.5)"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4 mapped into IPv6 (RFC 4291, section 2.5.5.2)"},
	{netip.MustParsePrefix("fe80::/10"), "link-local (RFC 4291, section 2.5.6)"},
	{netip.MustParsePrefix("ff00::/8"), "multicast (RFC 4291, section 2.7)"},
}

// Special refuses a prefix that overlaps a range with a meaning of its own.
func Special(p netip.Prefix) error {
	for _, s := range special {
		if p.Overlaps(s.prefix) {
			return fmt.Errorf("%v overlaps %v, %s", p, s.prefix, s.what)
		}
	}
	return nil
}

// Family names a family as operators do.
func Family(is4 bool) string {
	if is4 {
		return "IPv4"
	}
	return "IPv6"
}

func bit(b []byte, i int) int { return int(b[i/8]>>(7-i%8)) & 1 }

func setBit(b []byte, i int) { b[i/8] |= 1 << (7 - i%8) }
