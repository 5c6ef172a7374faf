package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// elements adds or deletes one element: one entry in a hash set or a
// concatenation of ranges, two in an interval set.
func (t *transaction) elements(i int, typ, flags uint16, o datapath.Element) {
	set, ok := t.keys[o.Set]
	if !ok {
		t.errs[i] = fmt.Errorf("there is no set %s", o.Set)
		return
	}
	entries, err := set.encode(o, typ == unix.NFT_MSG_NEWSETELEM)
	if err != nil {
		t.errs[i] = err
		return
	}
	body := inTable()
	body.text(unix.NFTA_SET_ELEM_LIST_SET, o.Set)
	body.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(a *attrs) { *a = append(*a, entries...) })
	t.put(i, typ, flags, body)
}

// encode writes the entries of an element.
func (s setOf) encode(o datapath.Element, withData bool) (attrs, error) {
	var out attrs
	if s.key == nil {
		return nil, fmt.Errorf("set %s has a type that weft does not program", o.Set)
	}
	if !s.object.Interval {
		key, err := s.key.value(o.Elem)
		if err != nil {
			return nil, err
		}
		return out, s.entry(&out, rawElement{key: key}, o.Data, withData)
	}
	from, to, err := s.key.span(o.Elem)
	if err != nil {
		return nil, err
	}
	if to == nil {
		to = from
	}
	if s.concatRanges() {
		return out, s.entry(&out, rawElement{key: from, keyEnd: to}, o.Data, withData)
	}
	if err := s.entry(&out, rawElement{key: from}, o.Data, withData); err != nil {
		return nil, err
	}
	if after := plus(to, 1); after != nil {
		return out, s.entry(&out, rawElement{key: after, end: true}, "", false)
	}
	return out, nil
}

func (s setOf) entry(out *attrs, e rawElement, data string, withData bool) error {
	var value attrs
	if withData {
		var err error
		if value, err = s.value(data); err != nil {
			return err
		}
	}
	out.nest(listElem, func(a *attrs) {
		if e.end {
			a.u32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
		}
		a.nest(unix.NFTA_SET_ELEM_KEY, func(a *attrs) { a.bytes(unix.NFTA_DATA_VALUE, e.key) })
		if e.keyEnd != nil {
			a.nest(elemKeyEnd, func(a *attrs) { a.bytes(unix.NFTA_DATA_VALUE, e.keyEnd) })
		}
		if value != nil {
			a.nest(unix.NFTA_SET_ELEM_DATA, func(a *attrs) { *a = append(*a, value...) })
		}
	})
	return nil
}

// value writes what a map holds under a key.
func (s setOf) value(data string) (attrs, error) {
	var out attrs
	switch {
	case s.object.Data == "" && data != "":
		return nil, fmt.Errorf("%s is a set, not a map: it holds no %q", s.object.Name, data)
	case s.object.Data == "":
		return nil, nil
	case s.data != nil:
		b, err := s.data.value(data)
		if err != nil {
			return nil, err
		}
		out.bytes(unix.NFTA_DATA_VALUE, b)
		return out, nil
	}
	kind, chain := target(data)
	for _, v := range verdicts {
		if v.name != kind {
			continue
		}
		out.nest(unix.NFTA_DATA_VERDICT, func(a *attrs) {
			a.u32(unix.NFTA_VERDICT_CODE, uint32(v.code))
			if chain != "" {
				a.text(unix.NFTA_VERDICT_CHAIN, chain)
			}
		})
		return out, nil
	}
	return nil, fmt.Errorf("%q is no verdict", data)
}
