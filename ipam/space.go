package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// RestPrefix is how long a freed node prefix rests before it is given again.
const RestPrefix = 10 * time.Minute

// ErrTaken is what Take's error wraps.
var ErrTaken = errors.New("overlaps what is taken")

// ErrFull is what Carve's error wraps.
var ErrFull = errors.New("no prefix is free")

// Space is one CIDR and the prefixes taken of it, of any lengths. It is a binary
// tree over address bits in which each block knows the largest free block below
// it, so that Take, Free and Carve cost one walk down. It is not safe for
// concurrent use.
type Space struct {
	cidr netip.Prefix
	root *block
	rest []rest // by since, oldest first
	n    int    // taken, resting ones included
}

// block is a node of the tree; nil is wholly free. One with no children is taken.
type block struct {
	kid  [2]*block
	best int // length of the largest free block at or below; full if there is none
}

const full = 1 << 10

type rest struct {
	prefix netip.Prefix
	since  time.Time
}

// NewSpace is a CIDR of which nothing is taken.
func NewSpace(cidr netip.Prefix) *Space { return &Space{cidr: cidr.Masked()} }

// CIDR is what the space spans.
func (s *Space) CIDR() netip.Prefix { return s.cidr }

// Len is the number of prefixes taken, resting ones included.
func (s *Space) Len() int { return s.n }

// Resting is the number of prefixes that rest.
func (s *Space) Resting() int { return len(s.rest) }

// Take marks a prefix of the space. The error wraps ErrTaken if any of it is
// taken or rests.
func (s *Space) Take(p netip.Prefix) error {
	if p != p.Masked() || !Contains(s.cidr, p) {
		return fmt.Errorf("ipam: %v is no prefix of %v", p, s.cidr)
	}
	if s.Overlaps(p) {
		return fmt.Errorf("ipam: %v in %v: %w", p, s.cidr, ErrTaken)
	}
	s.root = take(s.root, p.Addr().AsSlice(), s.cidr.Bits(), p.Bits())
	s.n++
	return nil
}

// Free takes back a prefix that Take or Carve marked, at once and without rest.
func (s *Space) Free(p netip.Prefix) bool {
	if !s.has(p) {
		return false
	}
	s.root = free(s.root, p.Addr().AsSlice(), s.cidr.Bits(), p.Bits())
	s.rest = slices.DeleteFunc(s.rest, func(r rest) bool { return r.prefix == p })
	s.n--
	return true
}

// Rest frees a taken prefix so that it is given again only after RestPrefix, or
// when nothing else is left.
func (s *Space) Rest(p netip.Prefix, since time.Time) bool {
	if !s.has(p) || slices.ContainsFunc(s.rest, func(r rest) bool { return r.prefix == p }) {
		return false
	}
	i, _ := slices.BinarySearchFunc(s.rest, since, func(r rest, t time.Time) int { return r.since.Compare(t) })
	s.rest = slices.Insert(s.rest, i, rest{p, since})
	return true
}

// Carve takes the lowest free prefix of a length. What rests is not free. The
// error wraps ErrFull.
func (s *Space) Carve(bits int, now time.Time) (netip.Prefix, error) {
	if err := s.fits(bits); err != nil {
		return netip.Prefix{}, err
	}
	for len(s.rest) > 0 && now.Sub(s.rest[0].since) >= RestPrefix {
		s.Free(s.rest[0].prefix)
	}
	p, ok := s.lowest(bits)
	if !ok {
		return netip.Prefix{}, fmt.Errorf("ipam: no /%d in %v: %s, %d of them resting; %w",
			bits, s.cidr, s.taken(), len(s.rest), ErrFull)
	}
	return p, s.Take(p)
}

// Squeeze is for when nothing is free anywhere: it takes the longest-rested
// prefix, or the longest-rested ones that together make room. The error wraps
// ErrFull.
func (s *Space) Squeeze(bits int) (netip.Prefix, error) {
	if err := s.fits(bits); err != nil {
		return netip.Prefix{}, err
	}
	kept := slices.Clone(s.rest)
	for s.root.largest(s.cidr.Bits()) > bits && len(s.rest) > 0 {
		s.Free(s.rest[0].prefix)
	}
	p, ok := s.lowest(bits)
	if ok {
		if err := s.Take(p); err != nil {
			return netip.Prefix{}, err
		}
	}
	s.resume(kept, p)
	if !ok {
		return netip.Prefix{}, fmt.Errorf("ipam: no /%d in %v: %s; %w", bits, s.cidr, s.taken(), ErrFull)
	}
	return p, nil
}

// taken says how many prefixes are, those that rest among them.
func (s *Space) taken() string {
	if s.n == 1 {
		return "1 prefix is taken"
	}
	return fmt.Sprintf("%d prefixes are taken", s.n)
}

// LongestRest is when the longest-rested prefix was freed, the zero Time if none
// rests.
func (s *Space) LongestRest() time.Time {
	if len(s.rest) == 0 {
		return time.Time{}
	}
	return s.rest[0].since
}

func (s *Space) fits(bits int) error {
	if bits < s.cidr.Bits() || bits > s.cidr.Addr().BitLen() {
		return fmt.Errorf("ipam: no /%d fits in %v; use a length from %d to %d",
			bits, s.cidr, s.cidr.Bits(), s.cidr.Addr().BitLen())
	}
	return nil
}

// resume takes the rests back that were ended to make room, but for those whose
// room was used.
func (s *Space) resume(kept []rest, used netip.Prefix) {
	for _, r := range kept[:len(kept)-len(s.rest)] {
		if !used.IsValid() || !used.Overlaps(r.prefix) {
			_ = s.Take(r.prefix) // it was ours a moment ago, and nobody took it but used
			s.Rest(r.prefix, r.since)
		}
	}
}

// Overlaps tells whether any of p is taken or rests.
func (s *Space) Overlaps(p netip.Prefix) bool {
	if !s.cidr.Overlaps(p) {
		return false
	}
	if p.Bits() <= s.cidr.Bits() {
		return s.root != nil
	}
	b := s.root
	for i, addr := s.cidr.Bits(), p.Addr().AsSlice(); b != nil; i++ {
		if b.taken() || i == p.Bits() {
			return true
		}
		b = b.kid[bit(addr, i)]
	}
	return false
}

// has tells whether exactly p is taken.
func (s *Space) has(p netip.Prefix) bool {
	if p != p.Masked() || !Contains(s.cidr, p) {
		return false
	}
	b := s.root
	for i, addr := s.cidr.Bits(), p.Addr().AsSlice(); b != nil && i < p.Bits(); i++ {
		b = b.kid[bit(addr, i)]
	}
	return b != nil && b.taken()
}

// lowest is the lowest free prefix of a length.
func (s *Space) lowest(bits int) (netip.Prefix, bool) {
	if s.root.largest(s.cidr.Bits()) > bits {
		return netip.Prefix{}, false
	}
	addr := s.cidr.Addr().AsSlice()
	for b, i := s.root, s.cidr.Bits(); b != nil && i < bits; i++ {
		side := 0
		if b.kid[0].largest(i+1) > bits {
			side = 1
			setBit(addr, i)
		}
		b = b.kid[side]
	}
	a, _ := netip.AddrFromSlice(addr)
	return netip.PrefixFrom(a, bits), true
}

func (b *block) taken() bool { return b.kid[0] == nil && b.kid[1] == nil }

// largest is the length of the largest free block below b, which is at depth i.
func (b *block) largest(i int) int {
	if b == nil {
		return i
	}
	return b.best
}

// take marks the block at depth bits that addr leads to, which is free.
func take(b *block, addr []byte, i, bits int) *block {
	if i == bits {
		return &block{best: full}
	}
	if b == nil {
		b = &block{}
	}
	side := bit(addr, i)
	b.kid[side] = take(b.kid[side], addr, i+1, bits)
	b.best = min(b.kid[0].largest(i+1), b.kid[1].largest(i+1))
	return b
}

// free unmarks a block that is taken and merges free halves.
func free(b *block, addr []byte, i, bits int) *block {
	if i == bits {
		return nil
	}
	side := bit(addr, i)
	b.kid[side] = free(b.kid[side], addr, i+1, bits)
	if b.kid[0] == nil && b.kid[1] == nil {
		return nil
	}
	b.best = min(b.kid[0].largest(i+1), b.kid[1].largest(i+1))
	return b
}
