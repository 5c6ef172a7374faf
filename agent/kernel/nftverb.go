package kernel

import (
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// do compiles one action.
func (p *program) do(a datapath.Action) {
	switch a.Verb {
	case datapath.Accept:
		p.add(&expr.Verdict{Kind: expr.VerdictAccept})
	case datapath.Drop:
		p.add(&expr.Verdict{Kind: expr.VerdictDrop})
	case datapath.Return:
		p.add(&expr.Verdict{Kind: expr.VerdictReturn})
	case datapath.Jump:
		p.add(&expr.Verdict{Kind: expr.VerdictJump, Chain: a.Arg})
	case datapath.Goto:
		p.add(&expr.Verdict{Kind: expr.VerdictGoto, Chain: a.Arg})
	case datapath.Counter:
		p.add(&expr.Counter{})
	case datapath.Masquerade:
		p.add(&expr.Masq{FullyRandom: true})
	case datapath.ClampMSS:
		p.clamp()
	case datapath.SetMark:
		p.setMark(a, &expr.Meta{Key: expr.MetaKeyMARK, Register: reg1},
			&expr.Meta{Key: expr.MetaKeyMARK, Register: reg1, SourceRegister: true})
	case datapath.SetCTMark:
		p.setMark(a, &expr.Ct{Key: expr.CtKeyMARK, Register: reg1},
			&expr.Ct{Key: expr.CtKeyMARK, Register: reg1, SourceRegister: true})
	case datapath.DNAT4:
		p.dnat(a, unix.NFPROTO_IPV4, false)
	case datapath.DNAT6:
		p.dnat(a, unix.NFPROTO_IPV6, false)
	case datapath.DNAT4Addr:
		p.dnat(a, unix.NFPROTO_IPV4, true)
	case datapath.DNAT6Addr:
		p.dnat(a, unix.NFPROTO_IPV6, true)
	default:
		p.fail("verb %q is none that weft programs", a.Verb)
	}
}

// clamp writes the path's MSS into option 2 of a TCP header (RFC 9293, section
// 3.7.1), behind its kind and length.
func (p *program) clamp() {
	const option, at, size = 2, 2, 2
	p.add(
		&expr.Rt{Register: reg1, Key: expr.RtTCPMSS},
		&expr.Byteorder{SourceRegister: reg1, DestRegister: reg1, Op: expr.ByteorderHton, Len: size, Size: size},
		&expr.Exthdr{SourceRegister: reg1, Type: option, Offset: at, Len: size, Op: expr.ExthdrOpTcpopt},
	)
}

func (p *program) setMark(a datapath.Action, load, store expr.Any) {
	v, mask, err := underMask(a.Arg)
	if err != nil {
		p.fail("%s %q: %w", a.Verb, a.Arg, err)
		return
	}
	if mask == ^uint32(0) {
		p.add(&expr.Immediate{Register: reg1, Data: native32(v)}, store)
		return
	}
	p.add(load)
	p.mask(native32(^mask), native32(v))
	p.add(store)
}

// dnat looks protocol and port up in a map, after the destination address if the
// map's key begins with it, and translates to what stands there.
func (p *program) dnat(a datapath.Action, nfproto uint8, addr bool) {
	m, ok := strings.CutPrefix(a.Arg, "@")
	if !ok {
		p.fail("%s %q: only a @map", a.Verb, a.Arg)
		return
	}
	size, offset := uint32(4), uint32(16)
	if nfproto == unix.NFPROTO_IPV6 {
		size, offset = 16, 24
	}
	at := 0
	if addr {
		p.needNF(nfproto)
		p.load(expr.PayloadBaseNetworkHeader, offset, size, reg1)
		at = int(size)
	}
	p.add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg(at)})
	p.load(expr.PayloadBaseTransportHeader, 2, 2, reg(at+4))
	p.add(
		&expr.Lookup{SourceRegister: reg1, DestRegister: reg1, IsDestRegSet: true, SetName: m},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(nfproto), RegAddrMin: reg1, RegProtoMin: reg(int(size))},
	)
}
