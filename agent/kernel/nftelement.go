package kernel

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

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

// rawElement is one element as the kernel keeps it.
type rawElement struct {
	key, keyEnd []byte
	data        []byte
	verdict     string
	end         bool // NFT_SET_ELEM_INTERVAL_END
}

func (n *nft) observeElements(set setOf, s datapath.State) error {
	body := inTable()
	body.text(unix.NFTA_SET_ELEM_LIST_SET, set.object.Name)
	list, err := n.sock.dump(unix.NFT_MSG_GETSETELEM, body)
	if err != nil {
		return fmt.Errorf("kernel: elements of %s: %w", set.object.Name, err)
	}
	var raw []rawElement
	for _, b := range list {
		if raw, err = parseElements(raw, b); err != nil {
			return err
		}
	}
	if set.object.Interval && !set.concatRanges() {
		raw = joinEnds(raw)
	}
	for _, e := range raw {
		o := datapath.Element{Set: set.object.Name, Elem: set.key.text(e.key)}
		if e.keyEnd != nil {
			o.Elem = set.key.spanText(e.key, e.keyEnd)
		}
		switch {
		case set.object.Data == verdict:
			o.Data = e.verdict
		case set.data != nil:
			o.Data = set.data.text(e.data)
		}
		s[o.Key()] = o
	}
	return nil
}

// joinEnds makes one of the two elements that an interval has. An end stands
// after the last value; an interval without one reaches to the last value there
// is.
func joinEnds(raw []rawElement) []rawElement {
	slices.SortStableFunc(raw, func(a, b rawElement) int {
		if c := bytes.Compare(a.key, b.key); c != 0 {
			return c
		}
		if a.end == b.end {
			return 0
		}
		if a.end {
			return -1 // where one ends, the next begins
		}
		return 1
	})
	var out []rawElement
	for i, e := range raw {
		if e.end {
			continue
		}
		e.keyEnd = bytes.Repeat([]byte{0xff}, len(e.key))
		if i+1 < len(raw) && raw[i+1].end {
			e.keyEnd = plus(raw[i+1].key, -1)
		}
		out = append(out, e)
	}
	return out
}

// plus adds 1 or -1 to a number in network byte order. Beyond the last value it
// is nil.
func plus(b []byte, d int) []byte {
	out := bytes.Clone(b)
	for i := len(out) - 1; i >= 0; i-- {
		v := int(out[i]) + d
		out[i] = byte(v)
		if v >= 0 && v <= 0xff {
			return out
		}
	}
	return nil
}

func parseElements(out []rawElement, b []byte) ([]rawElement, error) {
	var bad error
	err := each(b, func(typ uint16, v []byte) {
		if typ != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			return
		}
		lerr := each(v, func(_ uint16, v []byte) {
			e, err := parseElement(v)
			if err != nil {
				bad = err
				return
			}
			out = append(out, e)
		})
		bad = cmp.Or(bad, lerr)
	})
	return out, cmp.Or(err, bad)
}

func parseElement(b []byte) (rawElement, error) {
	var e rawElement
	err := each(b, func(typ uint16, v []byte) {
		switch typ {
		case unix.NFTA_SET_ELEM_KEY:
			e.key, _ = parseData(v)
		case elemKeyEnd:
			e.keyEnd, _ = parseData(v)
		case unix.NFTA_SET_ELEM_DATA:
			e.data, e.verdict = parseData(v)
		case unix.NFTA_SET_ELEM_FLAGS:
			e.end = u32(v)&unix.NFT_SET_ELEM_INTERVAL_END != 0
		}
	})
	return e, err
}

// parseData reads NFTA_DATA_VALUE or NFTA_DATA_VERDICT.
func parseData(b []byte) (value []byte, verdict string) {
	_ = each(b, func(typ uint16, v []byte) {
		switch typ {
		case unix.NFTA_DATA_VALUE:
			value = v
		case unix.NFTA_DATA_VERDICT:
			var code int32
			chain := ""
			_ = each(v, func(typ uint16, v []byte) {
				switch typ {
				case unix.NFTA_VERDICT_CODE:
					code = int32(u32(v))
				case unix.NFTA_VERDICT_CHAIN:
					chain = text(v)
				}
			})
			verdict = strings.TrimSpace(verdictName(code) + " " + chain)
		}
	})
	return value, verdict
}

// verdicts are the codes of include/uapi/linux/netfilter{,/nf_tables}.h.
var verdicts = []struct {
	name string
	code int32
}{
	{"drop", 0},
	{"accept", 1},
	{"jump", unix.NFT_JUMP},
	{"goto", unix.NFT_GOTO},
	{"return", unix.NFT_RETURN},
}

func verdictName(code int32) string {
	for _, v := range verdicts {
		if v.code == code {
			return v.name
		}
	}
	return fmt.Sprintf("verdict %d", code)
}
