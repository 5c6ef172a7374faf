package kernel

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzLegacy: whatever the kernel may give as a table, reading it ends.
func FuzzLegacy(f *testing.F) {
	entry := make([]byte, 112+40)
	binary.NativeEndian.PutUint16(entry[88:], 112)
	binary.NativeEndian.PutUint16(entry[90:], 152)
	binary.NativeEndian.PutUint16(entry[112:], 40)
	info := make([]byte, xtInfoSize)
	info[32] = 0x0e
	f.Add(info, entry, false)
	f.Add(info, append(entry, entry...), true)
	f.Fuzz(func(_ *testing.T, info, b []byte, six bool) {
		family := xtFamilies[0]
		if six {
			family = xtFamilies[1]
		}
		_, _ = family.parse(info, b)
	})
}

// FuzzForeign: whatever stands in a rule of somebody else, reading it ends.
func FuzzForeign(f *testing.F) {
	var a attrs
	a.text(unix.NFTA_RULE_CHAIN, "c")
	a.nest(unix.NFTA_RULE_EXPRESSIONS, func(a *attrs) {
		a.nest(listElem, func(a *attrs) {
			a.text(unix.NFTA_EXPR_NAME, "match")
			a.nest(unix.NFTA_EXPR_DATA, func(a *attrs) {
				a.text(unix.NFTA_MATCH_NAME, "conntrack")
				a.u32(unix.NFTA_MATCH_REV, 3)
				a.bytes(unix.NFTA_MATCH_INFO, make([]byte, 160))
			})
		})
	})
	f.Add([]byte(a), uint8(unix.NFPROTO_IPV4))
	f.Fuzz(func(_ *testing.T, b []byte, family uint8) {
		_, _, _ = readForeign(family, b, func(string) ([]rawElement, error) {
			return []rawElement{{key: b[:min(4, len(b))]}, {key: nil, end: true}}, nil
		})
	})
}
