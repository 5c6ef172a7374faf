package kernel

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/weft-net/weft/agent/datapath"
)

// A rule's userdata says which rule it is: its index, the hash of its text, and
// the rule itself, so that a new process knows what an old one wrote. nft drops
// it when somebody edits the rule. It is a list of type, length, value
// (libnftnl, src/udata.c); nft shows type 0 and skips what it does not know.
const (
	udataComment = 0
	udataWeft    = 87
	udataMax     = 256 // NFT_USERDATA_MAXLEN
)

// ruleID is where a rule is and the hash of what it says.
type ruleID struct {
	chain string
	index int
	hash  uint64
}

func identity(r datapath.Rule) ruleID {
	sum := sha256.Sum256([]byte(r.Text()))
	return ruleID{r.Chain, r.Index, binary.BigEndian.Uint64(sum[:])}
}

// The codes of fields and verbs in userdata. Never reorder: other releases read
// what this one wrote.
var (
	fieldCodes = []datapath.Field{
		"", datapath.IIfName, datapath.OIfName, datapath.SAddr4, datapath.DAddr4, datapath.SAddr6, datapath.DAddr6,
		datapath.CTState, datapath.CTStatus, datapath.L4Proto, datapath.NFProto, datapath.TCPFlags, datapath.DPort,
		datapath.UDPDPort, datapath.VNI, datapath.FibDAddr, datapath.FibSAddrIf, datapath.Mark, datapath.CTMark,
		datapath.CTOrigDst4, datapath.CTOrigDst6, datapath.Pair4, datapath.Pair6,
	}
	verbCodes = []datapath.Verb{
		"", datapath.Accept, datapath.Drop, datapath.Return, datapath.Jump, datapath.Goto, datapath.Counter,
		datapath.Masquerade, datapath.ClampMSS, datapath.SetMark, datapath.SetCTMark,
		datapath.DNAT4, datapath.DNAT6, datapath.DNAT4Addr, datapath.DNAT6Addr,
	}
)

const notBit = 0x80 // of a field's code: the match is negated

// userdata writes a rule's identity. A rule too long for it is remembered by this
// process; the next one writes it once again.
func (n *nft) userdata(r datapath.Rule) []byte {
	id := identity(r)
	n.rules[id] = r
	var out []byte
	if r.Comment != "" && len(r.Comment) < 128 { // NFTNL_UDATA_COMMENT_MAXLEN
		out = append(out, udataComment, byte(len(r.Comment)+1))
		out = append(append(out, r.Comment...), 0)
	}
	own := binary.BigEndian.AppendUint64(nil, id.hash)
	own = binary.AppendVarint(own, int64(r.Index))
	if whole := appendRule(own, r); len(out)+2+len(whole) <= udataMax && len(whole) < 256 {
		own = whole
	}
	return append(append(out, udataWeft, byte(len(own))), own...)
}

func appendRule(b []byte, r datapath.Rule) []byte {
	for _, m := range r.Match {
		code := 0
		for i, f := range fieldCodes {
			if f == m.Field {
				code = i
			}
		}
		if m.Not {
			code |= notBit
		}
		b = appendText(append(b, byte(code)), m.Value)
	}
	for _, a := range r.Do {
		code := 0
		for i, v := range verbCodes {
			if v == a.Verb {
				code = i
			}
		}
		b = appendText(append(b, byte(code)), a.Arg)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(append(b, byte(min(len(s), 255))), s...)
}

// identify reads which rule of ours it is, and believes it only if the hash fits.
func (n *nft) identify(chain string, udata []byte) (datapath.Rule, bool) {
	var own []byte
	r := datapath.Rule{Chain: chain}
	for len(udata) >= 2 && len(udata) >= 2+int(udata[1]) {
		typ, value := udata[0], udata[2:2+int(udata[1])]
		udata = udata[2+len(value):]
		switch typ {
		case udataComment:
			r.Comment = text(value)
		case udataWeft:
			own = value
		}
	}
	if len(own) < 9 {
		return r, false
	}
	hash := binary.BigEndian.Uint64(own)
	index, size := binary.Varint(own[8:])
	if size <= 0 {
		return r, false
	}
	r.Index = int(index)
	if known, ok := n.rules[ruleID{chain, r.Index, hash}]; ok {
		return known, true
	}
	ok := readRule(own[8+size:], &r) && identity(r).hash == hash
	return r, ok
}

func readRule(b []byte, r *datapath.Rule) bool {
	for i := range r.Match {
		code, s, rest, ok := readPart(b)
		if !ok || int(code&^notBit) >= len(fieldCodes) {
			return false
		}
		r.Match[i] = datapath.Match{Field: fieldCodes[code&^notBit], Not: code&notBit != 0, Value: s}
		b = rest
	}
	for i := range r.Do {
		code, s, rest, ok := readPart(b)
		if !ok || int(code) >= len(verbCodes) {
			return false
		}
		r.Do[i] = datapath.Action{Verb: verbCodes[code], Arg: s}
		b = rest
	}
	return len(b) == 0
}

func readPart(b []byte) (code byte, s string, rest []byte, ok bool) {
	if len(b) < 2 || len(b) < 2+int(b[1]) {
		return 0, "", nil, false
	}
	n := 2 + int(b[1])
	return b[0], string(b[2:n]), b[n:], true
}
