package egress

import (
	"net/netip"
)

// special are addresses that mean something to every kernel or to a cloud: what
// answers there trusts whoever reaches it. The first that holds an address names it.
var special = []struct {
	prefix netip.Prefix
	rule   string
	what   string
}{
	{netip.MustParsePrefix("169.254.169.254/32"), "metadata", "the instance metadata of most clouds"},
	{netip.MustParsePrefix("169.254.170.2/32"), "metadata", "the credentials of AWS tasks"},
	{netip.MustParsePrefix("169.254.170.23/32"), "metadata", "the credentials of AWS pods"},
	{netip.MustParsePrefix("fd00:ec2::254/128"), "metadata", "the instance metadata of AWS"},
	{netip.MustParsePrefix("fd00:ec2::23/128"), "metadata", "the credentials of AWS pods"},
	{netip.MustParsePrefix("fd20:ce::254/128"), "metadata", "the instance metadata of Google Cloud"},
	{netip.MustParsePrefix("fd00:42::42/128"), "metadata", "the instance metadata of Scaleway"},
	{netip.MustParsePrefix("100.100.100.200/32"), "metadata", "the instance metadata of Alibaba Cloud"},
	{netip.MustParsePrefix("168.63.129.16/32"), "metadata", "the host of Azure's machines"},
	{netip.MustParsePrefix("192.0.0.192/32"), "metadata", "the instance metadata of Oracle Cloud"},

	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified", "this host on this network (RFC 1122, section 3.2.1.3)"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback", "loopback (RFC 1122, section 3.2.1.3)"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local", "link-local (RFC 3927)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast", "multicast (RFC 5771)"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved", "reserved and broadcast (RFC 1112, section 4)"},
	{netip.MustParsePrefix("::/128"), "unspecified", "unspecified (RFC 4291, section 2.5.2)"},
	{netip.MustParsePrefix("::1/128"), "loopback", "loopback (RFC 4291, section 2.5.3)"},
	{netip.MustParsePrefix("fe80::/10"), "link-local", "link-local (RFC 4291, section 2.5.6)"},
	{netip.MustParsePrefix("fec0::/10"), "link-local", "site-local (RFC 3879)"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "reserved", "NAT64 of a site (RFC 8215), whose IPv4 address can be anywhere in it (RFC 6052, section 2.2)"},
	{netip.MustParsePrefix("ff00::/8"), "multicast", "multicast (RFC 4291, section 2.7)"},
}

// wrapped are prefixes whose addresses carry an IPv4 address, from a bit on: a
// gateway sends to that one.
var wrapped = []struct {
	prefix netip.Prefix
	at     int // byte
}{
	{netip.MustParsePrefix("::ffff:0:0/96"), 12},   // mapped (RFC 4291, section 2.5.5.2)
	{netip.MustParsePrefix("64:ff9b::/96"), 12},    // NAT64 (RFC 6052, section 2.1)
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12}, // translated (RFC 7915, section 7.1)
	{netip.MustParsePrefix("2002::/16"), 2},        // 6to4 (RFC 3056, section 2)
	{netip.MustParsePrefix("::/96"), 12},           // compatible (RFC 4291, section 2.5.5.1)
}

// SpecialRange tells whether all addresses of a range are of one of those that must
// be named themselves, and what they are.
func SpecialRange(p netip.Prefix) (what string, is bool) {
	for _, s := range special {
		if s.prefix.Bits() <= p.Bits() && s.prefix.Contains(p.Addr()) {
			return s.what, true
		}
	}
	return "", false
}

// Special tells whether an address is dialled only where it is named itself, which
// rule says so, and what it is.
func Special(a netip.Addr) (rule, what string, is bool) {
	for _, s := range special {
		if s.prefix.Contains(a) {
			return s.rule, s.what, true
		}
	}
	if !a.Is6() {
		return "", "", false
	}
	for _, w := range wrapped {
		if !w.prefix.Contains(a) {
			continue
		}
		b := a.As16()
		in := netip.AddrFrom4([4]byte(b[w.at : w.at+4]))
		for _, s := range special {
			if s.prefix.Contains(in) {
				return s.rule, s.what + ", as " + in.String() + " in IPv6", true
			}
		}
	}
	return "", "", false
}
