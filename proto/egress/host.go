package egress

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Bounds of names (RFC 1035, section 2.3.4).
const (
	maxHost  = 253
	maxLabel = 63
)

// ParseHost reads what is to be dialled: an address, or a name in lower case and
// without the dot at its end.
func ParseHost(s string) (name string, addr netip.Addr, err error) {
	if s == "" {
		return "", netip.Addr{}, fmt.Errorf("is missing; give a name or an address")
	}
	if len(s) > maxHost+1 {
		return "", netip.Addr{}, fmt.Errorf("has %d bytes; at most %d are accepted", len(s), maxHost)
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return "", a, validAddr(a)
	}
	name = strings.TrimSuffix(strings.ToLower(s), ".")
	return name, netip.Addr{}, ValidName(name)
}

// validAddr refuses spellings by which an address would be another one for the
// kernel than for a rule.
func validAddr(a netip.Addr) error {
	switch {
	case a.Zone() != "":
		return fmt.Errorf("%.60q has a zone; an address with one is of one link and is not dialled", a)
	case a.Is4In6():
		return fmt.Errorf("%v is IPv4 mapped into IPv6; write it as %v", a, a.Unmap())
	}
	return nil
}

// ValidName takes names of hosts (RFC 1123, section 2.1), with the underscore that
// names of services have.
func ValidName(s string) error {
	if s == "" || len(s) > maxHost {
		return fmt.Errorf("%.60q is no name of 1 to %d bytes", s, maxHost)
	}
	label := ""
	for _, label = range strings.Split(s, ".") {
		if !validLabel(label) {
			return fmt.Errorf("%.60q is neither a name nor an address", s)
		}
	}
	if numeric(label) {
		return fmt.Errorf("%.60q ends in a number, but is no address; write one as 10.42.1.5 or fd42:42:0:1::5", s)
	}
	return nil
}

func validLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// numeric tells whether a last label would make a resolver of the C library read
// the whole as an address: 127.1, 0x7f.1, 2130706433 (inet_aton(3)).
func numeric(label string) bool {
	if strings.Trim(label, "0123456789") == "" {
		return true
	}
	hex, ok := strings.CutPrefix(label, "0x")
	_, err := strconv.ParseUint(hex, 16, 64)
	return ok && (hex == "" || err == nil)
}

// validPattern takes a name, or *. and a name.
func validPattern(s string) error {
	name := strings.TrimPrefix(s, "*.")
	if _, err := netip.ParseAddr(name); err == nil {
		return fmt.Errorf("%.60q is an address; write it as cidr", s)
	}
	if err := ValidName(name); err != nil {
		return fmt.Errorf("%w; accepted: a name in lower case such as db.example.com, or *.example.com", err)
	}
	return nil
}

// hostMatches tells whether a name is meant by a pattern. *.example.com is all
// names below example.com, not itself.
func hostMatches(pattern, name string) bool {
	if below, ok := strings.CutPrefix(pattern, "*"); ok {
		return len(name) > len(below) && strings.HasSuffix(name, below)
	}
	return name != "" && name == pattern
}
