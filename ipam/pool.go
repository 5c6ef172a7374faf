package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// RestAddr is how long a freed pod address rests before it is given again.
const RestAddr = 60 * time.Second

// maxScan bounds one Pick, should a caller claim that everything is used. It is
// far above the endpoints of any node.
const maxScan = 1 << 20

// ErrExhausted is what Pick's error wraps when no address is free.
var ErrExhausted = errors.New("no address is free")

// Pool is the addresses that one node gives to its pods: the prefixes of its
// lease, one a family or more. Never given are the all-zeros address of a
// prefix, which is the node's fabric address, and the broadcast address of an
// IPv4 prefix shorter than /31 (RFC 3021).
type Pool struct {
	Prefixes []netip.Prefix // masked
}

// Request is one pick.
type Request struct {
	Is4   bool
	After netip.Addr // the address last given of this family; the zero Addr starts at the lowest
	Now   time.Time

	Used func(netip.Addr) bool // an attachment has it
	// Freed is when an address was given back, the zero Time if it never was.
	// Nil means that nothing rests.
	Freed func(netip.Addr) time.Time
}

// Pick gives the next free address after the last given, around the pool. If
// all that is free rests, it is the longest-rested. The error wraps
// ErrExhausted. It costs time in the number of addresses used or resting.
func (p Pool) Pick(r Request) (netip.Addr, error) {
	spans := p.spans(r.Is4, r.After)
	var rested netip.Addr
	var since time.Time
	seen, used := 0, 0
	for _, s := range spans {
		for a := s.from; seen < maxScan; a = a.Next() {
			seen++
			if r.Used(a) {
				used++
			} else if at := r.freed(a); r.ripe(at) {
				return a, nil
			} else if !rested.IsValid() || at.Before(since) {
				rested, since = a, at
			}
			if a == s.to {
				break
			}
		}
	}
	if rested.IsValid() {
		return rested, nil
	}
	return netip.Addr{}, p.exhausted(r.Is4, used)
}

func (r Request) freed(a netip.Addr) time.Time {
	if r.Freed == nil {
		return time.Time{}
	}
	return r.Freed(a)
}

// ripe tells whether an address freed at a time has rested. A time that has not
// come yet is a clock that jumped: the rest has begun, it has not ended.
func (r Request) ripe(at time.Time) bool { return at.IsZero() || r.Now.Sub(at) >= RestAddr }

// Check tells why an address that somebody asks for by name cannot be given, or
// nil. A rest does not count against who asks by name.
func (p Pool) Check(a netip.Addr, used func(netip.Addr) bool) error {
	i := slices.IndexFunc(p.Prefixes, func(q netip.Prefix) bool { return q.Contains(a) })
	switch {
	case i < 0:
		return fmt.Errorf("ipam: %v is in none of this node's prefixes %v; ask for one of them, or for none", a, p.Prefixes)
	case a == p.Prefixes[i].Addr():
		return fmt.Errorf("ipam: %v is the all-zeros address of %v, kept for the node's fabric address; ask for another", a, p.Prefixes[i])
	case !usable(p.Prefixes[i], a):
		return fmt.Errorf("ipam: %v is the broadcast address of %v; ask for another", a, p.Prefixes[i])
	case used(a):
		return fmt.Errorf("ipam: %v is in use on this node; ask for another", a)
	}
	return nil
}

// Usable is how many addresses of a family the pool can give, at most
// math.MaxInt64.
func (p Pool) Usable(is4 bool) int64 {
	var n int64
	for _, s := range p.spans(is4, netip.Addr{}) {
		q := s.of
		size := Count(q, q.Addr().BitLen()) - 1
		if s.to != Last(q) {
			size--
		}
		if n += size; n < 0 {
			return 1<<63 - 1
		}
	}
	return n
}

// span is a run of usable addresses of one prefix, both ends included.
type span struct {
	of       netip.Prefix
	from, to netip.Addr
}

// spans lists the usable addresses of a family, beginning after an address and
// ending with it.
func (p Pool) spans(is4 bool, after netip.Addr) []span {
	var head, tail []span
	for _, q := range p.Prefixes {
		s := span{of: q, from: q.Addr().Next(), to: Last(q)}
		if q.Addr().Is4() != is4 {
			continue
		}
		if !usable(q, s.to) {
			s.to = s.to.Prev()
		}
		switch {
		case !s.from.IsValid() || s.to.Less(s.from): // a prefix of one address has none for pods
		case !q.Contains(after) || after.Less(s.from):
			head = append(head, s)
		default: // the last one came from here: what follows it goes first
			tail = append(head, span{of: q, from: s.from, to: min2(after, s.to)})
			head = nil
			if after.Less(s.to) {
				head = append(head, span{of: q, from: after.Next(), to: s.to})
			}
		}
	}
	return append(head, tail...)
}

func usable(q netip.Prefix, a netip.Addr) bool {
	if a == q.Addr() {
		return false
	}
	return !q.Addr().Is4() || q.Bits() >= 31 || a != Last(q)
}

func min2(a, b netip.Addr) netip.Addr {
	if b.Less(a) {
		return b
	}
	return a
}

func (p Pool) exhausted(is4 bool, used int) error {
	var mine []netip.Prefix
	for _, q := range p.Prefixes {
		if q.Addr().Is4() == is4 {
			mine = append(mine, q)
		}
	}
	if len(mine) == 0 {
		return fmt.Errorf("ipam: this node has no %s prefix: %w", Family(is4), ErrExhausted)
	}
	return fmt.Errorf("ipam: %d of %d %s addresses in %v are used: %w; delete pods on this node or give it a further prefix",
		used, p.Usable(is4), Family(is4), mine, ErrExhausted)
}
