package kernel

import (
	"encoding/binary"
	"strconv"

	"github.com/weft-net/weft/agent/datapath"
)

// match reads an extension of iptables: the few that decide whether a firewall
// lets a new flow pass. All others may hold or not.
func (r *reader) match(name string, rev uint32, info []byte) {
	switch name {
	case "comment": // struct xt_comment_info
		r.rule.Comment = text(info)
	case "tcp", "udp":
		r.xtPorts(name, info)
	case "icmp", "icmp6":
		r.xtICMP(info)
	case "conntrack":
		r.xtConntrack(rev, info)
	case "addrtype": // struct xt_addrtype_info_v1 {source, dest, flags}
		if rev != 1 || len(info) < 8 || binary.NativeEndian.Uint16(info) != 0 {
			r.unread()
			return
		}
		const invertDest = 2
		r.add(datapath.FilterMatch{
			Field: "daddr type", Not: binary.NativeEndian.Uint32(info[4:])&invertDest != 0,
			Values: addressTypes(binary.NativeEndian.Uint16(info[2:])),
		})
	case "state": // struct xt_state_info
		if len(info) < 4 {
			r.unread()
			return
		}
		r.xtStates(binary.NativeEndian.Uint32(info), false)
	default:
		r.unread()
	}
}

// addressTypes names the bits of XT_ADDRTYPE_*, which stand where RTN_* are.
func addressTypes(v uint16) []string {
	var out []string
	for i, name := range []string{"unspec", "unicast", "local", "broadcast", "anycast", "multicast"} {
		if v>>i&1 != 0 {
			out = append(out, name)
		}
	}
	return out
}

// xtPorts reads struct xt_udp {spts[2], dpts[2], invflags} and the same beginning
// of struct xt_tcp, whose flags are not read.
func (r *reader) xtPorts(name string, b []byte) {
	invAt := 8
	if name == "tcp" {
		invAt = 11
	}
	if len(b) <= invAt {
		r.unread()
		return
	}
	if name == "tcp" && (b[8] != 0 || b[9] != 0) { // option, mask of flags
		r.unread()
	}
	for i, field := range []string{"sport", "dport"} {
		lo, hi := binary.NativeEndian.Uint16(b[4*i:]), binary.NativeEndian.Uint16(b[4*i+2:])
		if lo == 0 && hi == 0xffff {
			continue
		}
		v := strconv.Itoa(int(lo))
		if hi != lo {
			v += "-" + strconv.Itoa(int(hi))
		}
		r.add(datapath.FilterMatch{Field: field, Not: b[invAt]>>i&1 != 0, Values: []string{v}})
	}
}

// xtICMP reads struct ipt_icmp {type, code[2], invflags}, which is that of IPv6 too.
// Type 255 is any of IPv4.
func (r *reader) xtICMP(b []byte) {
	const anyType, invert = 255, 1
	if len(b) < 4 {
		r.unread()
		return
	}
	if b[0] != anyType {
		r.add(datapath.FilterMatch{Field: icmpType, Not: b[3]&invert != 0, Values: []string{strconv.Itoa(int(b[0]))}})
	}
	if b[1] != 0 || b[2] != 255 { // some codes only
		r.unread()
	}
}

// xtConntrack reads the states of struct xt_conntrack_mtinfo{1,2,3}: addresses,
// expiry, ports, then match and invert flags and the states.
func (r *reader) xtConntrack(rev uint32, b []byte) {
	const flagsAt, stateFlag = 146, 1
	if len(b) < flagsAt+6 || rev < 1 {
		r.unread()
		return
	}
	match, invert := binary.NativeEndian.Uint16(b[flagsAt:]), binary.NativeEndian.Uint16(b[flagsAt+2:])
	state := uint32(b[flagsAt+4])
	if rev >= 2 {
		state = uint32(binary.NativeEndian.Uint16(b[flagsAt+4:]))
	}
	if match != stateFlag {
		r.unread()
	}
	if match&stateFlag != 0 {
		r.xtStates(state, invert&stateFlag != 0)
	}
}

// xtStates are bits as XT_CONNTRACK_STATE_BIT makes them: those of nftables, but
// for untracked, and with translations among them.
func (r *reader) xtStates(v uint32, not bool) {
	const untracked, snat, dnat = 1 << 8, 1 << 6, 1 << 7 // of xt_conntrack
	names := bitNames("ct state", v&0xf|v&untracked>>2)
	for _, b := range []bit{{"snat", snat}, {"dnat", dnat}} {
		if v&b.value != 0 {
			names = append(names, b.name)
		}
	}
	r.add(datapath.FilterMatch{Field: "ct state", Not: not, Values: names})
}

// target reads what a rule of iptables does, beside the verdicts that nftables
// knows itself.
func (r *reader) target(name string, rev uint32, info []byte) {
	switch name {
	case "REJECT":
		r.rule.Verdict = "reject"
	case "MARK": // struct xt_mark_tginfo2 {mark, mask}
		if rev == 2 && len(info) >= 8 {
			r.rule.Mark = binary.NativeEndian.Uint32(info[4:])
		}
	}
}
