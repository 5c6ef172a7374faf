package kernel

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// Registers: the first of 16 bytes, and the n-th of 4 bytes behind it, in which
// the parts of a concatenation follow each other.
const reg1 = unix.NFT_REG_1

func reg(bytes int) uint32 {
	if bytes%16 == 0 {
		return unix.NFT_REG_1 + uint32(bytes/16)
	}
	return unix.NFT_REG32_00 + uint32(bytes/4)
}

// program is a rule's expressions as nft itself would compile the rule's text,
// so that `nft list` shows that text.
type program struct {
	list  [][]byte
	nfp   uint8 // network protocol that was matched already
	l4    uint8 // transport protocol likewise
	wrong error
}

func compile(r datapath.Rule) ([][]byte, error) {
	p := &program{}
	for _, m := range r.Match {
		if m.Field != "" && p.wrong == nil {
			p.match(m)
		}
	}
	for _, a := range r.Do {
		if a.Verb != "" && p.wrong == nil {
			p.do(a)
		}
	}
	return p.list, p.wrong
}

func (p *program) add(es ...expr.Any) {
	for _, e := range es {
		b, err := expr.Marshal(inetFamily, e)
		if err != nil && p.wrong == nil {
			p.wrong = err
		}
		p.list = append(p.list, b)
	}
}

func (p *program) fail(format string, args ...any) {
	if p.wrong == nil {
		p.wrong = fmt.Errorf(format, args...)
	}
}

func (p *program) match(m datapath.Match) {
	if f, ok := addressFields[m.Field]; ok {
		p.address(m, f.nfproto, f.offset, f.size)
		return
	}
	switch m.Field {
	case datapath.IIfName:
		p.ifname(m, expr.MetaKeyIIFNAME)
	case datapath.OIfName:
		p.ifname(m, expr.MetaKeyOIFNAME)
	case datapath.CTState:
		p.bits(m, expr.CtKeySTATE, ctStates)
	case datapath.CTStatus:
		p.bits(m, expr.CtKeySTATUS, ctStatuses)
	case datapath.L4Proto:
		p.l4proto(m)
	case datapath.NFProto:
		p.nfproto(m)
	case datapath.TCPFlags:
		p.tcpFlags(m)
	case datapath.DPort:
		p.dport(m)
	case datapath.UDPDPort:
		p.needL4(unix.IPPROTO_UDP)
		p.dport(m)
	case datapath.VNI:
		p.vni(m)
	case datapath.FibDAddr, datapath.FibSAddrIf:
		p.fib(m)
	case datapath.Mark:
		p.mark(m, &expr.Meta{Key: expr.MetaKeyMARK, Register: reg1})
	case datapath.CTMark:
		p.mark(m, &expr.Ct{Key: expr.CtKeyMARK, Register: reg1})
	case datapath.CTOrigDst4:
		p.original(m, unix.NFT_CT_DST_IP, 4)
	case datapath.CTOrigDst6:
		p.original(m, unix.NFT_CT_DST_IP6, 16)
	case datapath.Pair4:
		p.pair(m, unix.NFPROTO_IPV4, 12, 4)
	case datapath.Pair6:
		p.pair(m, unix.NFPROTO_IPV6, 8, 16)
	default:
		p.fail("field %q is none that weft programs", m.Field)
	}
}

func op(not bool) expr.CmpOp {
	if not {
		return expr.CmpOpNeq
	}
	return expr.CmpOpEq
}

func (p *program) compare(not bool, value []byte) {
	p.add(&expr.Cmp{Op: op(not), Register: reg1, Data: value})
}

// lookup compares what stands from register 1 on with a set.
func (p *program) lookup(m datapath.Match) bool {
	set, ok := strings.CutPrefix(m.Value, "@")
	if ok {
		p.add(&expr.Lookup{SourceRegister: reg1, SetName: set, Invert: m.Not})
	}
	return ok
}

// needNF adds what a field of one network protocol implies in an inet table.
func (p *program) needNF(n uint8) {
	if p.nfp == n {
		return
	}
	p.add(&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg1})
	p.compare(false, []byte{n})
	p.nfp = n
}

func (p *program) needL4(n uint8) {
	if p.l4 == n {
		return
	}
	p.add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg1})
	p.compare(false, []byte{n})
	p.l4 = n
}

func (p *program) load(base expr.PayloadBase, offset, size, register uint32) {
	p.add(&expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: size})
}

// mask is register 1 and-ed, then xor-ed.
func (p *program) mask(and, xor []byte) {
	if xor == nil {
		xor = make([]byte, len(and))
	}
	p.add(&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: uint32(len(and)), Mask: and, Xor: xor})
}

// bit is a name of one bit.
type bit struct {
	name  string
	value uint32
}

// From include/uapi/linux/netfilter/nf_conntrack_common.h; states are shifted as
// NF_CT_STATE_BIT does.
var (
	ctStates   = []bit{{"invalid", 1}, {"established", 2}, {"related", 4}, {"new", 8}, {"untracked", 64}}
	ctStatuses = []bit{{"snat", 1 << 4}, {"dnat", 1 << 5}}
)

func (p *program) bits(m datapath.Match, key expr.CtKey, names []bit) {
	var want uint32
	words := strings.Split(m.Value, ",")
next:
	for _, w := range words {
		for _, b := range names {
			if b.name == w {
				want |= b.value
				continue next
			}
		}
		p.fail("%s %q is not known", m.Field, w)
		return
	}
	p.add(&expr.Ct{Key: key, Register: reg1})
	if !m.Not {
		p.mask(native32(want), nil)
		p.compare(true, native32(0))
		return
	}
	// nft compares the whole with != , which is what one state means, and never
	// what several, or a status among others, are meant to say.
	if len(words) > 1 || m.Field != datapath.CTState {
		p.fail("%s != %s would hold for nearly every packet: match what is to pass first", m.Field, m.Value)
	}
	p.compare(true, native32(want))
}

func native32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func (p *program) l4proto(m datapath.Match) {
	n, err := protocol(m.Value)
	if err != nil {
		p.fail("%s: %w", m.Field, err)
		return
	}
	p.add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg1})
	p.compare(m.Not, []byte{n})
	if !m.Not {
		p.l4 = n
	}
}

func (p *program) nfproto(m datapath.Match) {
	numbers := map[string]uint8{"ipv4": unix.NFPROTO_IPV4, "ipv6": unix.NFPROTO_IPV6}
	n, ok := numbers[m.Value]
	if !ok {
		p.fail("%s %q: ipv4 or ipv6", m.Field, m.Value)
		return
	}
	p.add(&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg1})
	p.compare(m.Not, []byte{n})
	if !m.Not {
		p.nfp = n
	}
}

func (p *program) tcpFlags(m datapath.Match) {
	const syn, rst = 0x02, 0x04 // RFC 9293, section 3.1
	if m.Value != "syn" {
		p.fail("%s == %q: only syn is programmed", m.Field, m.Value)
	}
	p.needL4(unix.IPPROTO_TCP)
	p.load(expr.PayloadBaseTransportHeader, 13, 1, reg1)
	p.mask([]byte{syn | rst}, nil)
	p.compare(m.Not, []byte{syn})
}

func (p *program) dport(m datapath.Match) {
	p.load(expr.PayloadBaseTransportHeader, 2, 2, reg1)
	if p.lookup(m) {
		return
	}
	n, err := strconv.ParseUint(m.Value, 10, 16)
	if err != nil {
		p.fail("%s %q is no port", m.Field, m.Value)
	}
	p.compare(m.Not, binary.BigEndian.AppendUint16(nil, uint16(n)))
}

func (p *program) vni(m datapath.Match) {
	n, err := strconv.ParseUint(m.Value, 0, 24)
	if err != nil {
		p.fail("%s %q is no number of 24 bits", m.Field, m.Value)
	}
	p.load(expr.PayloadBaseTransportHeader, 12, 3, reg1)
	p.compare(m.Not, binary.BigEndian.AppendUint32(nil, uint32(n))[1:])
}

func (p *program) fib(m datapath.Match) {
	switch {
	case m.Field == datapath.FibDAddr && m.Value == "local":
		p.add(&expr.Fib{Register: reg1, ResultADDRTYPE: true, FlagDADDR: true})
		p.compare(m.Not, native32(unix.RTN_LOCAL))
	case m.Field == datapath.FibSAddrIf && m.Value == "missing":
		p.add(&expr.Fib{Register: reg1, ResultOIF: true, FlagSADDR: true, FlagIIF: true, FlagPRESENT: true})
		p.compare(m.Not, native32(0))
	default:
		p.fail("%s %q is not programmed", m.Field, m.Value)
	}
}

// underMask reads "value/mask"; without a mask all bits count.
func underMask(s string) (value, mask uint32, err error) {
	v, m, ok := strings.Cut(s, "/")
	a, err := strconv.ParseUint(v, 0, 32)
	if err != nil || !ok {
		return uint32(a), ^uint32(0), err
	}
	b, err := strconv.ParseUint(m, 0, 32)
	if err == nil && a&^b != 0 {
		err = fmt.Errorf("value %s has bits outside of mask %s", v, m)
	}
	return uint32(a), uint32(b), err
}

func (p *program) mark(m datapath.Match, load expr.Any) {
	v, mask, err := underMask(m.Value)
	if err != nil {
		p.fail("%s %q: %w", m.Field, m.Value, err)
	}
	p.add(load)
	if mask != ^uint32(0) {
		p.mask(native32(mask), nil)
	}
	p.compare(m.Not, native32(v))
}
