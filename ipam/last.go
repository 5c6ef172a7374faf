package ipam

import (
	"fmt"
	"net/netip"
	"time"
)

// CarveLast takes the highest free prefix of a length: as Carve, from the other
// end.
func (s *Space) CarveLast(bits int, now time.Time) (netip.Prefix, error) {
	if err := s.fits(bits); err != nil {
		return netip.Prefix{}, err
	}
	for len(s.rest) > 0 && now.Sub(s.rest[0].since) >= RestPrefix {
		s.Free(s.rest[0].prefix)
	}
	p, ok := s.highest(bits)
	if !ok {
		return netip.Prefix{}, fmt.Errorf("ipam: no /%d in %v: %s, %d of them resting; %w",
			bits, s.cidr, s.taken(), len(s.rest), ErrFull)
	}
	return p, s.Take(p)
}

// highest is the highest free prefix of a length.
func (s *Space) highest(bits int) (netip.Prefix, bool) {
	if s.root.largest(s.cidr.Bits()) > bits {
		return netip.Prefix{}, false
	}
	addr := s.cidr.Addr().AsSlice()
	b := s.root
	for i := s.cidr.Bits(); i < bits; i++ {
		side := 1
		if b != nil && b.kid[1].largest(i+1) > bits {
			side = 0
		}
		if side == 1 {
			setBit(addr, i)
		}
		if b != nil {
			b = b.kid[side]
		}
	}
	a, _ := netip.AddrFromSlice(addr)
	return netip.PrefixFrom(a, bits), true
}
