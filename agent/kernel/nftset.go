package kernel

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// Not in x/sys/unix: include/uapi/linux/netfilter/nf_tables.h, and the userdata
// of sets as nft writes it (libnftnl, include/libnftnl/udata.h).
const (
	setConcat      = 0x80 // NFT_SET_CONCAT
	setDescConcat  = 2    // NFTA_SET_DESC_CONCAT
	setFieldLen    = 1    // NFTA_SET_FIELD_LEN
	listElem       = 1    // NFTA_LIST_ELEM
	elemKeyEnd     = 10   // NFTA_SET_ELEM_KEY_END
	udataKeyOrder  = 0    // NFTNL_UDATA_SET_KEYBYTEORDER
	udataDataOrder = 1    // NFTNL_UDATA_SET_DATABYTEORDER
	orderHost      = 1    // BYTEORDER_HOST_ENDIAN
	orderBig       = 2    // BYTEORDER_BIG_ENDIAN
)

// setOf is a set with its types.
type setOf struct {
	object datapath.Set
	key    nfKey
	data   nfKey // nil: a set, or verdicts
}

func setName(name string) attrs {
	a := inTable()
	a.text(unix.NFTA_SET_NAME, name)
	return a
}

func parseSetOf(o datapath.Set) (setOf, error) {
	s := setOf{object: o}
	var err error
	if s.key, err = parseKey(o.Type); err != nil {
		return s, err
	}
	if o.Data != "" && o.Data != verdict {
		s.data, err = parseKey(o.Data)
	}
	return s, err
}

// concatRanges tells whether elements carry their end with them (pipapo); other
// interval sets have an element for each end (rbtree).
func (s setOf) concatRanges() bool { return s.object.Interval && len(s.key) > 1 }

func (t *transaction) addSet(i int, o datapath.Set) {
	s, err := parseSetOf(o)
	if err != nil {
		t.errs[i] = err
		return
	}
	t.sets[o.Name], t.keys[o.Name] = true, s
	body := setName(o.Name)
	flags := uint32(0)
	if o.Data != "" {
		flags |= unix.NFT_SET_MAP
	}
	if o.Interval {
		flags |= unix.NFT_SET_INTERVAL
	}
	if s.concatRanges() {
		flags |= setConcat
	}
	body.u32(unix.NFTA_SET_FLAGS, flags)
	body.u32(unix.NFTA_SET_KEY_TYPE, s.key.id())
	body.u32(unix.NFTA_SET_KEY_LEN, uint32(s.key.size()))
	switch {
	case o.Data == verdict:
		body.u32(unix.NFTA_SET_DATA_TYPE, verdictData)
	case o.Data != "":
		body.u32(unix.NFTA_SET_DATA_TYPE, s.data.id())
		body.u32(unix.NFTA_SET_DATA_LEN, uint32(s.data.size()))
	}
	body.u32(unix.NFTA_SET_ID, uint32(len(t.msgs)))
	if s.concatRanges() {
		body.nest(unix.NFTA_SET_DESC, func(a *attrs) {
			a.nest(setDescConcat, func(a *attrs) {
				for _, f := range s.key {
					a.nest(listElem, func(a *attrs) { a.u32(setFieldLen, uint32(f.size)) })
				}
			})
		})
	}
	body.bytes(unix.NFTA_SET_USERDATA, s.userdata())
	t.put(i, unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, body)
}

// userdata tells nft in which byte order to show the elements.
func (s setOf) userdata() []byte {
	u := order(nil, udataKeyOrder, s.key)
	if s.data != nil {
		u = order(u, udataDataOrder, s.data)
	}
	return u
}

func order(u []byte, typ byte, k nfKey) []byte {
	o := byte(orderBig)
	if len(k) == 1 && k[0].host {
		o = orderHost
	}
	return append(u, typ, 4, o, 0, 0, 0) // a number in the host's byte order
}

// sets lists the table's named sets and maps.
func (n *nft) sets() ([]setOf, error) {
	list, err := n.sock.dump(unix.NFT_MSG_GETSET, inTable())
	if err != nil {
		return nil, fmt.Errorf("kernel: list of sets: %w", err)
	}
	var out []setOf
	for _, b := range list {
		s, anonymous, err := parseSet(b)
		if err != nil {
			return nil, err
		}
		if !anonymous { // those belong to a foreign rule
			out = append(out, s)
		}
	}
	return out, nil
}

func parseSet(b []byte) (s setOf, anonymous bool, err error) {
	var flags, key, data uint32
	err = each(b, func(typ uint16, v []byte) {
		switch typ {
		case unix.NFTA_SET_NAME:
			s.object.Name = text(v)
		case unix.NFTA_SET_FLAGS:
			flags = u32(v)
		case unix.NFTA_SET_KEY_TYPE:
			key = u32(v)
		case unix.NFTA_SET_DATA_TYPE:
			data = u32(v)
		}
	})
	s.object.Interval = flags&unix.NFT_SET_INTERVAL != 0
	s.object.Type, s.key = typeName(key)
	if flags&unix.NFT_SET_MAP != 0 {
		s.object.Data, s.data = typeName(data)
		if data == verdictData {
			s.object.Data, s.data = verdict, nil
		}
	}
	// What a set of ours never has makes it another one.
	if odd := flags &^ (unix.NFT_SET_MAP | unix.NFT_SET_INTERVAL | setConcat); odd != 0 {
		s.object.Type += fmt.Sprintf(" flags %#x", odd)
	}
	return s, flags&unix.NFT_SET_ANONYMOUS != 0, err
}

func typeName(id uint32) (string, nfKey) {
	if k, ok := keyOf(id); ok {
		return k.String(), k
	}
	return fmt.Sprintf("type %d", id), nil
}

func (n *nft) observeSets(ctx context.Context, kinds datapath.Kinds, s datapath.State) error {
	sets, err := n.sets()
	if err != nil {
		return err
	}
	for _, set := range sets {
		if kinds.Has(datapath.KindSet) {
			s[set.object.Key()] = set.object
		}
		if !kinds.Has(datapath.KindElement) || set.key == nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := n.observeElements(set, s); err != nil {
			return err
		}
	}
	return nil
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
		bad = each(v, func(_ uint16, v []byte) {
			e, err := parseElement(v)
			if err != nil {
				bad = err
			}
			out = append(out, e)
		})
	})
	if err == nil {
		err = bad
	}
	return out, err
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
