package kernel

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// Offsets in headers: include/uapi/linux/{ip,ipv6,tcp,udp}.h.
var addressFields = map[datapath.Field]struct {
	nfproto      uint8
	offset, size uint32
}{
	datapath.SAddr4: {unix.NFPROTO_IPV4, 12, 4},
	datapath.DAddr4: {unix.NFPROTO_IPV4, 16, 4},
	datapath.SAddr6: {unix.NFPROTO_IPV6, 8, 16},
	datapath.DAddr6: {unix.NFPROTO_IPV6, 24, 16},
}

func (p *program) address(m datapath.Match, nfproto uint8, offset, size uint32) {
	p.needNF(nfproto)
	if strings.HasPrefix(m.Value, "@") {
		p.load(expr.PayloadBaseNetworkHeader, offset, size, reg1)
		p.lookup(m)
		return
	}
	pfx, err := parsePrefix(m.Value)
	switch {
	case err != nil || pfx.Addr().BitLen() != int(size)*8:
		p.fail("%s %q is no address or prefix of that family", m.Field, m.Value)
	case pfx.Bits() == 0:
		p.fail("%s %q matches everything: leave it out", m.Field, m.Value)
	case pfx.Bits()%8 == 0: // as nft does: fewer bytes instead of a mask
		n := pfx.Bits() / 8
		p.load(expr.PayloadBaseNetworkHeader, offset, uint32(n), reg1)
		p.compare(m.Not, pfx.Addr().AsSlice()[:n])
	default:
		p.load(expr.PayloadBaseNetworkHeader, offset, size, reg1)
		p.mask(maskOf(pfx), nil)
		p.compare(m.Not, pfx.Addr().AsSlice())
	}
}

func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err == nil && p != p.Masked() {
		err = fmt.Errorf("%v has bits below its length", p)
	}
	return p, err
}

func maskOf(p netip.Prefix) []byte {
	b := make([]byte, p.Addr().BitLen()/8)
	for i := range p.Bits() {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return b
}

func (p *program) ifname(m datapath.Match, key expr.MetaKey) {
	p.add(&expr.Meta{Key: key, Register: reg1})
	if p.lookup(m) {
		return
	}
	name := []byte(m.Value)
	switch start, wild := bytes.CutSuffix(name, []byte("*")); {
	case len(start) == 0 || len(name) >= unix.IFNAMSIZ:
		p.fail("%s %q: a name of 1 to %d bytes", m.Field, m.Value, unix.IFNAMSIZ-1)
	case wild:
		p.compare(m.Not, start)
	default:
		p.compare(m.Not, append(name, make([]byte, unix.IFNAMSIZ-len(name))...))
	}
}

// original loads an address of the first packet's direction, which the library
// has no key for.
func (p *program) original(m datapath.Match, key uint32, size int) {
	a, err := netip.ParseAddr(m.Value)
	if err != nil || a.BitLen() != size*8 {
		p.fail("%s %q is no address of that family", m.Field, m.Value)
		return
	}
	var e attrs
	e.text(unix.NFTA_EXPR_NAME, "ct")
	e.nest(unix.NFTA_EXPR_DATA, func(d *attrs) {
		d.u32(unix.NFTA_CT_DREG, reg1)
		d.u32(unix.NFTA_CT_KEY, key)
		d.bytes(unix.NFTA_CT_DIRECTION, []byte{0}) // IP_CT_DIR_ORIGINAL
	})
	p.list = append(p.list, e)
	p.compare(m.Not, a.AsSlice())
}

func (p *program) pair(m datapath.Match, nfproto uint8, offset, size uint32) {
	p.needNF(nfproto)
	p.load(expr.PayloadBaseNetworkHeader, offset, size, reg1)
	p.load(expr.PayloadBaseNetworkHeader, offset+size, size, reg(int(size)))
	if !p.lookup(m) {
		p.fail("%s %q: only a @set", m.Field, m.Value)
	}
}
