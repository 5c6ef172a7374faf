package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// loaded is what an expression has put into a register.
type loaded struct {
	field string // "?" for what is not read
	mask  []byte // and-ed with it; nil: all
	bytes int    // of the address of which it is a part
}

// reader turns a rule's expressions into what the rule says.
type reader struct {
	elements func(set string) ([]rawElement, error)
	six      bool // IPv6 is what is compared
	regs     map[uint32]loaded
	rule     datapath.FilterRule
	more     []datapath.FilterRule // of a map of verdicts: a rule an element
	mapped   bool
	err      error
}

// readForeign reads one message of rules. A rule with a map of verdicts is a rule an
// element, under one handle.
func readForeign(family uint8, b []byte, elements func(string) ([]rawElement, error)) (chain string, rules []datapath.FilterRule, err error) {
	r := reader{elements: elements, six: family == unix.NFPROTO_IPV6, regs: map[uint32]loaded{}}
	placed, udata, _, err := parseRule(b)
	if err != nil {
		return "", nil, err
	}
	r.rule.Handle, r.rule.Comment = placed.handle, commentOf(udata)
	err = each(b, func(typ uint16, v []byte) {
		if typ != unix.NFTA_RULE_EXPRESSIONS {
			return
		}
		if err := each(v, func(_ uint16, e []byte) { r.expression(e) }); err != nil && r.err == nil {
			r.err = err
		}
	})
	if err == nil {
		err = r.err
	}
	if r.mapped {
		return placed.chain, r.more, err
	}
	return placed.chain, []datapath.FilterRule{r.rule}, err
}

// commentOf is NFTNL_UDATA_RULE_COMMENT of a rule's userdata: type, length, text.
func commentOf(b []byte) string {
	for len(b) >= 2 {
		typ, n := b[0], int(b[1])
		if n > len(b)-2 {
			return ""
		}
		if typ == 0 {
			return strings.ToValidUTF8(text(b[2:2+n]), "?")
		}
		b = b[2+n:]
	}
	return ""
}

func (r *reader) expression(b []byte) {
	var name string
	var data []byte
	_ = each(b, func(typ uint16, v []byte) {
		switch typ {
		case unix.NFTA_EXPR_NAME:
			name = text(v)
		case unix.NFTA_EXPR_DATA:
			data = v
		}
	})
	a := attrsOf(data)
	switch name {
	case "meta":
		r.meta(a)
	case "payload":
		r.payload(a)
	case "ct":
		r.load(u32(a[unix.NFTA_CT_DREG]), map[uint32]string{unix.NFT_CT_STATE: "ct state", unix.NFT_CT_STATUS: "ct status"}[u32(a[unix.NFTA_CT_KEY])])
	case "fib":
		r.fib(a)
	case "bitwise":
		r.bitwise(a)
	case "cmp":
		r.compare(a)
	case "lookup":
		r.lookup(a)
	case "range":
		r.span(a)
	case "immediate":
		if _, v := parseData(a[unix.NFTA_IMMEDIATE_DATA]); v != "" {
			r.rule.Verdict = v
		}
	case "reject":
		r.rule.Verdict = "reject"
	case "match":
		r.match(text(a[unix.NFTA_MATCH_NAME]), u32(a[unix.NFTA_MATCH_REV]), a[unix.NFTA_MATCH_INFO])
	case "target":
		r.target(text(a[unix.NFTA_TARGET_NAME]), u32(a[unix.NFTA_TARGET_REV]), a[unix.NFTA_TARGET_INFO])
	case "counter", "log", "notrack", "comment", "last":
	default: // limit, quota, fib, hash, queue …: it may hold or not
		r.unread()
	}
}

// icmpType is the first byte of what follows the IP header: a type, in the messages of
// which rules ask it.
const icmpType = "icmp type"

// fib reads `fib daddr type`.
func (r *reader) fib(a map[uint16][]byte) {
	field := ""
	if u32(a[unix.NFTA_FIB_RESULT]) == unix.NFT_FIB_RESULT_ADDRTYPE && u32(a[unix.NFTA_FIB_FLAGS]) == unix.NFTA_FIB_F_DADDR {
		field = "daddr type"
	}
	r.load(u32(a[unix.NFTA_FIB_DREG]), field)
}

// attrsOf is a list of attributes by type.
func attrsOf(b []byte) map[uint16][]byte {
	out := map[uint16][]byte{}
	_ = each(b, func(typ uint16, v []byte) { out[typ] = v })
	return out
}

func (r *reader) unread() { r.add(datapath.FilterMatch{Field: "?"}) }

func (r *reader) add(m datapath.FilterMatch) { r.rule.Match = append(r.rule.Match, m) }

func (r *reader) load(reg uint32, field string) {
	if field == "" {
		field = "?"
	}
	r.regs[register(reg)] = loaded{field: field}
}

// register folds the two ways to name a register's beginning into one.
func register(reg uint32) uint32 {
	if reg >= unix.NFT_REG_1 && reg <= unix.NFT_REG_4 {
		return unix.NFT_REG32_00 + (reg-unix.NFT_REG_1)*4
	}
	return reg
}

func (r *reader) meta(a map[uint16][]byte) {
	key := u32(a[unix.NFTA_META_KEY])
	if a[unix.NFTA_META_SREG] != nil {
		if key == unix.NFT_META_MARK {
			r.rule.Mark = ^uint32(0)
			if m := r.regs[register(u32(a[unix.NFTA_META_SREG]))].mask; len(m) == 4 {
				r.rule.Mark = ^binary.NativeEndian.Uint32(m)
			}
		}
		return
	}
	r.load(u32(a[unix.NFTA_META_DREG]), map[uint32]string{
		unix.NFT_META_IIFNAME: "iifname", unix.NFT_META_OIFNAME: "oifname",
		unix.NFT_META_NFPROTO: "nfproto", unix.NFT_META_L4PROTO: "l4proto",
	}[key])
}

func (r *reader) payload(a map[uint16][]byte) {
	if a[unix.NFTA_PAYLOAD_SREG] != nil { // writes, and lets pass
		return
	}
	base, offset, size := u32(a[unix.NFTA_PAYLOAD_BASE]), u32(a[unix.NFTA_PAYLOAD_OFFSET]), u32(a[unix.NFTA_PAYLOAD_LEN])
	field, whole := "", uint32(4)
	saddr, daddr := uint32(12), uint32(16)
	if r.six {
		whole, saddr, daddr = 16, 8, 24
	}
	switch {
	case base == unix.NFT_PAYLOAD_TRANSPORT_HEADER && size == 1 && offset == 0:
		field = icmpType
	case base == unix.NFT_PAYLOAD_TRANSPORT_HEADER && size == 2 && offset <= 2:
		field = [...]string{"sport", "", "dport"}[offset]
	case base != unix.NFT_PAYLOAD_NETWORK_HEADER || size > whole:
	case offset == saddr:
		field = "saddr"
	case offset == daddr:
		field = "daddr"
	case offset == 9 && size == 1 && !r.six:
		field = "l4proto"
	}
	r.load(u32(a[unix.NFTA_PAYLOAD_DREG]), field)
	if field == "saddr" || field == "daddr" {
		r.regs[register(u32(a[unix.NFTA_PAYLOAD_DREG]))] = loaded{field: field, bytes: int(whole)}
	}
}

func (r *reader) bitwise(a map[uint16][]byte) {
	from := r.regs[register(u32(a[unix.NFTA_BITWISE_SREG]))]
	mask, _ := parseData(a[unix.NFTA_BITWISE_MASK])
	xor, _ := parseData(a[unix.NFTA_BITWISE_XOR])
	if from.field == "" || slices.ContainsFunc(xor, func(b byte) bool { return b != 0 }) {
		from.field = "?"
	}
	from.mask = mask
	r.regs[register(u32(a[unix.NFTA_BITWISE_DREG]))] = from
}

func (r *reader) compare(a map[uint16][]byte) {
	from := r.regs[register(u32(a[unix.NFTA_CMP_SREG]))]
	value, _ := parseData(a[unix.NFTA_CMP_DATA])
	m := datapath.FilterMatch{Field: from.field}
	switch u32(a[unix.NFTA_CMP_OP]) {
	case unix.NFT_CMP_EQ:
	case unix.NFT_CMP_NEQ:
		m.Not = true
	case unix.NFT_CMP_GTE, unix.NFT_CMP_LTE:
		r.bound(from, value, u32(a[unix.NFTA_CMP_OP]) == unix.NFT_CMP_LTE)
		return
	default:
		r.unread()
		return
	}
	switch {
	case from.field == "nfproto" && len(value) == 1:
		r.six = value[0] == unix.NFPROTO_IPV6
	case len(value) < from.bytes && from.mask == nil: // a prefix of whole bytes
		from.mask = maskOfLen(8*len(value), from.bytes)
		value = append(slices.Clone(value), make([]byte, from.bytes-len(value))...)
	}
	switch {
	case from.field == "ct state" || from.field == "ct status":
		r.bits(m, from, value)
		return
	case from.mask != nil && (from.field == "saddr" || from.field == "daddr"):
		v, ok := prefixText(value, from.mask)
		if !ok {
			r.unread()
			return
		}
		m.Values = []string{v}
	case from.mask != nil || from.field == "" || from.field == "?":
		r.unread()
		return
	default:
		m.Values = []string{valueText(from.field, value)}
	}
	r.add(m)
}

// bound is one end of a range, the lower before the upper, as nft writes both.
func (r *reader) bound(from loaded, value []byte, upper bool) {
	switch n := len(r.rule.Match); {
	case from.field == "" || from.field == "?" || from.mask != nil || len(value) < from.bytes:
		r.unread()
	case !upper:
		r.add(datapath.FilterMatch{Field: from.field, Values: []string{valueText(from.field, value) + "-" + valueText(from.field, slices.Repeat([]byte{0xff}, len(value)))}})
	case n > 0 && r.rule.Match[n-1].Field == from.field && len(r.rule.Match[n-1].Values) == 1:
		lower, _, _ := strings.Cut(r.rule.Match[n-1].Values[0], "-")
		r.rule.Match[n-1].Values = []string{lower + "-" + valueText(from.field, value)}
	default:
		r.unread()
	}
}

// bits is a comparison of bits: `ct state a,b` is and-ed and compared with != 0.
func (r *reader) bits(m datapath.FilterMatch, from loaded, value []byte) {
	if len(value) != 4 {
		r.unread()
		return
	}
	v := binary.NativeEndian.Uint32(value)
	if len(from.mask) == 4 && v == 0 {
		v, m.Not = binary.NativeEndian.Uint32(from.mask), !m.Not
	} else if from.mask != nil {
		r.unread()
		return
	}
	m.Values = bitNames(from.field, v)
	r.add(m)
}

func bitNames(field string, v uint32) []string {
	names := ctStates
	if field == "ct status" {
		names = ctStatuses
	}
	var out []string
	for _, b := range names {
		if v&b.value != 0 {
			out = append(out, b.name)
		}
	}
	if len(out) == 0 {
		out = []string{fmt.Sprintf("%#x", v)}
	}
	return out
}

func (r *reader) span(a map[uint16][]byte) {
	from := r.regs[register(u32(a[unix.NFTA_RANGE_SREG]))]
	lo, _ := parseData(a[unix.NFTA_RANGE_FROM_DATA])
	hi, _ := parseData(a[unix.NFTA_RANGE_TO_DATA])
	if from.field == "" || from.field == "?" || from.mask != nil {
		r.unread()
		return
	}
	r.add(datapath.FilterMatch{
		Field: from.field, Not: u32(a[unix.NFTA_RANGE_OP]) == unix.NFT_RANGE_NEQ,
		Values: []string{valueText(from.field, lo) + "-" + valueText(from.field, hi)},
	})
}

// lookup reads sets that belong to the rule; those with a name may be long, and
// what they hold may change without an event that is listened to.
func (r *reader) lookup(a map[uint16][]byte) {
	from, name := r.regs[register(u32(a[unix.NFTA_LOOKUP_SREG]))], text(a[unix.NFTA_LOOKUP_SET])
	if from.field == "" || from.field == "?" || from.mask != nil || !strings.HasPrefix(name, "__") {
		r.unread()
		return
	}
	list, err := r.elements(name)
	if err != nil {
		r.err = err
		return
	}
	if a[unix.NFTA_LOOKUP_DREG] != nil {
		r.verdicts(from.field, list)
		return
	}
	r.add(datapath.FilterMatch{Field: from.field, Not: u32(a[unix.NFTA_LOOKUP_FLAGS])&1 != 0, Values: valuesText(from.field, list)})
}

// verdicts makes a rule of each element of a map of verdicts.
func (r *reader) verdicts(field string, list []rawElement) {
	r.mapped = true
	slices.SortFunc(list, func(a, b rawElement) int { return slices.Compare(a.key, b.key) }) // the kernel lists by hash
	for _, e := range list {
		rule := r.rule
		rule.Match = append(slices.Clone(r.rule.Match), datapath.FilterMatch{Field: field, Values: valuesText(field, []rawElement{e})})
		rule.Verdict = e.verdict
		r.more = append(r.more, rule)
	}
}

// valuesText reads the elements of a set; ranges have an element for each end, the
// last of which may be missing.
func valuesText(field string, list []rawElement) []string {
	slices.SortFunc(list, func(a, b rawElement) int { return slices.Compare(a.key, b.key) })
	ranges := slices.ContainsFunc(list, func(e rawElement) bool { return e.end })
	var out []string
	for i, e := range list {
		switch {
		case e.end:
		case field == "ct state" && len(e.key) == 4:
			out = append(out, bitNames(field, binary.NativeEndian.Uint32(e.key))...)
		case !ranges:
			out = append(out, valueText(field, e.key))
		case i+1 < len(list):
			out = append(out, valueText(field, e.key)+"-"+valueText(field, before(list[i+1].key)))
		default:
			out = append(out, valueText(field, e.key)+"-"+valueText(field, slices.Repeat([]byte{0xff}, len(e.key))))
		}
	}
	return out
}

// before is a number less one, in network byte order.
func before(b []byte) []byte {
	out := slices.Clone(b)
	for i := len(out) - 1; i >= 0; i-- {
		out[i]--
		if out[i] != 0xff {
			break
		}
	}
	return out
}

func valueText(field string, b []byte) string {
	switch {
	case field == "iifname" || field == "oifname":
		if len(b) > 0 && b[len(b)-1] != 0 && len(b) < unix.IFNAMSIZ {
			return string(b) + "*" // compared without the end of the name
		}
		return text(b)
	case (field == "saddr" || field == "daddr") && (len(b) == 4 || len(b) == 16):
		a, _ := netip.AddrFromSlice(b)
		return a.String()
	case field == "daddr type" && len(b) == 4:
		if names := addressTypes(1 << min(binary.NativeEndian.Uint32(b), 15)); len(names) > 0 {
			return names[0]
		}
	case len(b) == 2:
		return strconv.Itoa(int(binary.BigEndian.Uint16(b)))
	case len(b) == 1 && field == icmpType:
		return strconv.Itoa(int(b[0]))
	case len(b) == 1 && field == "nfproto":
		return map[byte]string{unix.NFPROTO_IPV4: "ipv4", unix.NFPROTO_IPV6: "ipv6"}[b[0]]
	case len(b) == 1:
		return protocolName(b[0])
	}
	return fmt.Sprintf("%#x", b)
}

func prefixText(value, mask []byte) (string, bool) {
	a, ok := netip.AddrFromSlice(value)
	ones := 0
	for _, b := range mask {
		for bit := 7; bit >= 0 && b>>bit&1 == 1; bit-- {
			ones++
		}
	}
	if !ok || len(mask) != len(value) || !slices.Equal(mask, maskOfLen(ones, len(mask))) {
		return "", false
	}
	return netip.PrefixFrom(a, ones).String(), true
}

func maskOfLen(ones, size int) []byte {
	out := make([]byte, size)
	for i := range ones {
		out[i/8] |= 0x80 >> (i % 8)
	}
	return out
}
