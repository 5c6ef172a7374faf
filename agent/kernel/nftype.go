package kernel

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// nfType is a type of set keys or data (enum datatypes in nftables'
// include/datatype.h: nft lists by these numbers, the kernel only keeps them).
type nfType struct {
	name string
	id   uint32
	size int  // bytes
	host bool // in the host's byte order
}

const (
	typeBits    = 6          // of one type in a concatenation's number (TYPE_BITS)
	verdictData = 0xffffff00 // NFT_DATA_VERDICT
	verdict     = "verdict"
)

var nfTypes = []nfType{
	{"ipv4_addr", 7, 4, false},
	{"ipv6_addr", 8, 16, false},
	{"ether_addr", 9, 6, false},
	{"inet_proto", 12, 1, false},
	{"inet_service", 13, 2, false},
	{"mark", 19, 4, true},
	{"ifname", 41, unix.IFNAMSIZ, true},
}

// nfKey is the type of a key or of data: one type, or several concatenated, each
// then padded to registers of 4 bytes.
type nfKey []nfType

func parseKey(s string) (nfKey, error) {
	var k nfKey
next:
	for _, name := range strings.Split(s, " . ") {
		for _, t := range nfTypes {
			if t.name == name {
				k = append(k, t)
				continue next
			}
		}
		return nil, fmt.Errorf("type %q is none that weft programs", name)
	}
	return k, nil
}

// keyOf reads a type's number as nft and we write it.
func keyOf(id uint32) (nfKey, bool) {
	var k nfKey
	for ; id != 0; id >>= typeBits {
		found := false
		for _, t := range nfTypes {
			if t.id == id&(1<<typeBits-1) {
				k, found = append(nfKey{t}, k...), true
			}
		}
		if !found {
			return nil, false
		}
	}
	return k, len(k) > 0
}

func (k nfKey) String() string {
	names := make([]string, len(k))
	for i, t := range k {
		names[i] = t.name
	}
	return strings.Join(names, " . ")
}

func (k nfKey) id() uint32 {
	var id uint32
	for _, t := range k {
		id = id<<typeBits | t.id
	}
	return id
}

func (k nfKey) size() int {
	if len(k) == 1 {
		return k[0].size
	}
	n := 0
	for _, t := range k {
		n += registers(t.size)
	}
	return n
}

func registers(size int) int { return (size + 3) &^ 3 }

// value writes a key without ranges: "tcp . 8080".
func (k nfKey) value(s string) ([]byte, error) {
	from, to, err := k.span(s)
	if err == nil && to != nil {
		err = fmt.Errorf("%q is more than one value", s)
	}
	return from, err
}

// span writes a key of an interval set: first and last value, or only the first
// if it is one. Each part may be a value, a prefix, or a range a-b.
func (k nfKey) span(s string) (from, to []byte, err error) {
	parts := strings.Split(s, " . ")
	if len(parts) != len(k) {
		return nil, nil, fmt.Errorf("%q is not of type %v", s, k)
	}
	ranged := false
	for i, t := range k {
		a, b, err := t.span(parts[i])
		if err != nil {
			return nil, nil, err
		}
		ranged = ranged || string(a) != string(b)
		from, to = append(from, a...), append(to, b...)
		if len(k) > 1 {
			pad := make([]byte, registers(t.size)-t.size)
			from, to = append(from, pad...), append(to, pad...)
		}
	}
	if !ranged {
		return from, nil, nil
	}
	return from, to, nil
}

func (t nfType) span(s string) (from, to []byte, err error) {
	if p, perr := netip.ParsePrefix(s); perr == nil {
		if p.Addr().BitLen() != t.size*8 || p != p.Masked() {
			return nil, nil, fmt.Errorf("%q is not a masked prefix of type %s", s, t.name)
		}
		return p.Addr().AsSlice(), lastOf(p), nil
	}
	if a, b, ok := strings.Cut(s, "-"); ok && t.name != "ifname" && t.name != "inet_proto" {
		from, err = t.bytes(a)
		if err != nil {
			return nil, nil, err
		}
		to, err = t.bytes(b)
		return from, to, err
	}
	from, err = t.bytes(s)
	return from, from, err
}

func lastOf(p netip.Prefix) []byte {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return b
}

// bytes writes one value as registers hold it.
func (t nfType) bytes(s string) ([]byte, error) {
	bad := fmt.Errorf("%q is no %s", s, t.name)
	switch t.name {
	case "ipv4_addr", "ipv6_addr":
		a, err := netip.ParseAddr(s)
		if err != nil || a.BitLen() != t.size*8 {
			return nil, bad
		}
		return a.AsSlice(), nil
	case "ether_addr":
		b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
		if err != nil || len(b) != t.size {
			return nil, bad
		}
		return b, nil
	case "ifname":
		if len(s) == 0 || len(s) >= t.size {
			return nil, bad
		}
		return append([]byte(s), make([]byte, t.size-len(s))...), nil
	case "inet_proto":
		n, err := protocol(s)
		return []byte{n}, err
	}
	n, err := strconv.ParseUint(s, 0, t.size*8)
	if err != nil {
		return nil, bad
	}
	if t.host {
		return binary.NativeEndian.AppendUint32(nil, uint32(n)), nil
	}
	return binary.BigEndian.AppendUint16(nil, uint16(n)), nil
}

// text reads a key.
func (k nfKey) text(b []byte) string {
	var parts []string
	for _, t := range k {
		if len(b) < t.size {
			break
		}
		parts = append(parts, t.text(b[:t.size]))
		b = b[min(registers(t.size), len(b)):]
	}
	return strings.Join(parts, " . ")
}

// spanText reads first and last value, as a prefix where they are one.
func (k nfKey) spanText(from, to []byte) string {
	var parts []string
	for _, t := range k {
		if len(from) < t.size || len(to) < t.size {
			break
		}
		parts = append(parts, t.spanText(from[:t.size], to[:t.size]))
		from, to = from[min(registers(t.size), len(from)):], to[min(registers(t.size), len(to)):]
	}
	return strings.Join(parts, " . ")
}

func (t nfType) spanText(from, to []byte) string {
	if string(from) == string(to) {
		return t.text(from)
	}
	if a, ok := netip.AddrFromSlice(from); ok && (t.size == 4 || t.size == 16) && !t.host {
		for bits := range a.BitLen() {
			if p := netip.PrefixFrom(a, bits); p == p.Masked() && string(lastOf(p)) == string(to) {
				return p.String()
			}
		}
	}
	return t.text(from) + "-" + t.text(to)
}

func (t nfType) text(b []byte) string {
	switch t.name {
	case "ipv4_addr", "ipv6_addr":
		a, _ := netip.AddrFromSlice(b)
		return a.String()
	case "ether_addr":
		return datapath.MAC(b).String()
	case "ifname":
		return text(b)
	case "inet_proto":
		return protocolName(b[0])
	case "mark":
		return fmt.Sprintf("%#x", binary.NativeEndian.Uint32(b))
	}
	return strconv.Itoa(int(binary.BigEndian.Uint16(b)))
}

// protocols are the names of IP protocols (IANA) that rules and sets use.
var protocols = []struct {
	name   string
	number uint8
}{
	{"icmp", unix.IPPROTO_ICMP},
	{"tcp", unix.IPPROTO_TCP},
	{"udp", unix.IPPROTO_UDP},
	{"ipv6-icmp", unix.IPPROTO_ICMPV6},
	{"sctp", unix.IPPROTO_SCTP},
}

func protocol(s string) (uint8, error) {
	for _, p := range protocols {
		if p.name == s {
			return p.number, nil
		}
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("protocol %q: known are icmp, tcp, udp, ipv6-icmp, sctp and numbers", s)
	}
	return uint8(n), nil
}

func protocolName(n uint8) string {
	for _, p := range protocols {
		if p.number == n {
			return p.name
		}
	}
	return strconv.Itoa(int(n))
}
