package kernel

import (
	"context"
	"fmt"

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
