package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// From include/uapi/linux/netfilter_ipv{4,6}/ip{,6}_tables.h and x_tables.h, for
// which Go has no names.
const (
	xtGetInfo    = 64      // {IPT,IP6T}_SO_GET_INFO, _SO_GET_ENTRIES
	xtGetEntries = 65      //
	xtInfoSize   = 84      // struct ipt_getinfo
	xtNameSize   = 32      // XT_TABLE_MAXNAMELEN
	xtHeadSize   = 40      // struct ipt_get_entries before the entries
	xtMostBytes  = 8 << 20 // of one table
	xtTargetHead = 32      // struct xt_entry_target
	xtGoto       = 0x02    // IPT_F_GOTO, and of IPv6 IP6T_F_GOTO = 0x04
	xtGoto6      = 0x04
)

// xtFamily is what differs between the tables of IPv4 and IPv6.
type xtFamily struct {
	name            string
	number, level   int
	entry           int // bytes of struct {ipt,ip6t}_entry
	addr            int // bytes of an address
	proto           int // offsets
	flags, invflags int
	target, next    int
	goTo            byte
	tables          string // in /proc/net
}

var xtFamilies = []xtFamily{
	{"ip", unix.AF_INET, unix.IPPROTO_IP, 112, 4, 80, 82, 83, 88, 90, xtGoto, "ip_tables_names"},
	{"ip6", unix.AF_INET6, unix.IPPROTO_IPV6, 168, 16, 128, 131, 132, 140, 142, xtGoto6, "ip6_tables_names"},
}

// legacyFilters reads the table filter of iptables-legacy. It asks the kernel and
// runs no iptables-legacy-save: the node may have none, and its text differs
// between releases. A table that is not there is not asked for, because asking
// makes it.
func (k *Kernel) legacyFilters() ([]datapath.Filter, error) {
	var out []datapath.Filter
	err := inside(k.ns, func() error {
		for _, f := range xtFamilies {
			names, err := os.ReadFile("/proc/thread-self/net/" + f.tables)
			if errors.Is(err, fs.ErrNotExist) || err == nil && !slices.Contains(strings.Fields(string(names)), "filter") {
				continue
			}
			if err != nil {
				return fmt.Errorf("kernel: names of legacy tables: %w", err)
			}
			t, err := f.read()
			if err != nil {
				return fmt.Errorf("kernel: table filter of iptables-legacy, family %s: %w", f.name, err)
			}
			out = append(out, t)
		}
		return nil
	})
	return out, err
}

func (f xtFamily) read() (datapath.Filter, error) {
	fd, err := unix.Socket(f.number, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return datapath.Filter{}, err
	}
	defer unix.Close(fd)
	info := make([]byte, xtInfoSize)
	copy(info, "filter")
	if _, err := getsockopt(fd, f.level, xtGetInfo, info); err != nil {
		return datapath.Filter{}, err
	}
	size := binary.NativeEndian.Uint32(info[80:])
	if size > xtMostBytes {
		return datapath.Filter{Family: f.name, Table: "filter", Legacy: true, Cut: true}, nil
	}
	b := make([]byte, xtHeadSize+int(size))
	copy(b, "filter")
	binary.NativeEndian.PutUint32(b[xtNameSize:], size)
	n, err := getsockopt(fd, f.level, xtGetEntries, b)
	if err != nil {
		return datapath.Filter{}, err // EAGAIN: it changed between the two; the next look has it
	}
	return f.parse(info, b[min(xtHeadSize, n):min(n, len(b))])
}

func getsockopt(fd, level, name int, b []byte) (int, error) {
	size := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(size), nil
}

// entry is one rule at its place in the table.
type xtEntry struct {
	at     int
	rule   datapath.FilterRule
	begins string // the chain that begins here
	jump   int    // offset that a jump leads to; -1: none
	isGoto bool
}

// parse reads struct ipt_getinfo and the entries.
func (f xtFamily) parse(info, b []byte) (datapath.Filter, error) {
	out := datapath.Filter{Family: f.name, Table: "filter", Legacy: true}
	if len(info) < xtInfoSize {
		return out, errors.New("short answer")
	}
	entries, err := f.entries(b)
	if err != nil {
		return out, err
	}
	base := map[int]string{} // hooks of NF_INET_LOCAL_IN, FORWARD, LOCAL_OUT
	for i, hook := range []string{"", "input", "forward", "output"} {
		if hook != "" && binary.NativeEndian.Uint32(info[32:])>>i&1 != 0 {
			base[int(binary.NativeEndian.Uint32(info[36+4*i:]))] = hook
		}
	}
	names := map[int]string{}
	for i, e := range entries {
		if e.begins != "" && i+1 < len(entries) {
			names[entries[i+1].at] = e.begins
		}
	}
	var chain *datapath.FilterChain
	for _, e := range entries {
		if hook, ok := base[e.at]; ok {
			out.Chains = append(out.Chains, datapath.FilterChain{Name: strings.ToUpper(hook), Hook: hook})
			chain = &out.Chains[len(out.Chains)-1]
		} else if name, ok := names[e.at]; ok {
			out.Chains = append(out.Chains, datapath.FilterChain{Name: name})
			chain = &out.Chains[len(out.Chains)-1]
		}
		if chain == nil || e.begins != "" {
			continue
		}
		e.verdictOf(names)
		e.rule.Handle = uint64(len(chain.Rules) + 1)
		chain.Rules = append(chain.Rules, e.rule)
	}
	policies(out.Chains)
	return out, nil
}

// policies takes the last rule out of each chain: that of a base chain is its policy,
// any other's the return at its end.
func policies(chains []datapath.FilterChain) {
	for i, c := range chains {
		if n := len(c.Rules); n > 0 {
			chains[i].Drop, chains[i].Rules = c.Hook != "" && c.Rules[n-1].Verdict == "drop", c.Rules[:n-1]
		}
	}
}

func (e *xtEntry) verdictOf(names map[int]string) {
	switch {
	case e.jump < 0:
	case names[e.jump] == "": // to the next rule: it does nothing
	case e.isGoto:
		e.rule.Verdict = "goto " + names[e.jump]
	default:
		e.rule.Verdict = "jump " + names[e.jump]
	}
}

func (f xtFamily) entries(b []byte) ([]xtEntry, error) {
	var out []xtEntry
	for at := 0; at < len(b); {
		if len(out) >= mostRules {
			return out, nil
		}
		rest := b[at:]
		if len(rest) < f.entry {
			return nil, fmt.Errorf("entry of %d bytes at %d", len(rest), at)
		}
		target, next := int(binary.NativeEndian.Uint16(rest[f.target:])), int(binary.NativeEndian.Uint16(rest[f.next:]))
		if target < f.entry || next < target+xtTargetHead || next > len(rest) {
			return nil, fmt.Errorf("entry at %d with its target at %d of %d", at, target, next)
		}
		out = append(out, f.entryOf(at, rest[:target], rest[target:next]))
		at += next
	}
	return out, nil
}

// verdicts of standard targets: NF_DROP, NF_ACCEPT, NF_REPEAT (return), less one.
var xtVerdicts = map[int32]string{-1: "drop", -2: "accept", -5: "return"}

func (f xtFamily) entryOf(at int, head, target []byte) xtEntry {
	e := xtEntry{at: at, jump: -1, isGoto: head[f.flags]&f.goTo != 0}
	r := reader{}
	f.header(&r, head)
	for m := head[f.entry:]; len(m) >= xtTargetHead; {
		n := int(binary.NativeEndian.Uint16(m))
		if n < xtTargetHead || n > len(m) {
			r.unread()
			break
		}
		r.match(text(m[2:31]), uint32(m[31]), m[xtTargetHead:n])
		m = m[n:]
	}
	switch name := text(target[2:31]); {
	case name == "" && len(target) >= xtTargetHead+4:
		v := int32(binary.NativeEndian.Uint32(target[xtTargetHead:]))
		if v >= 0 {
			e.jump = int(v)
		}
		r.rule.Verdict = xtVerdicts[v]
	case name == "ERROR":
		e.begins = text(target[xtTargetHead:])
	default:
		r.target(name, uint32(target[31]), target[xtTargetHead:])
	}
	e.rule = r.rule
	return e
}

// header reads struct ipt_ip or ip6t_ip6: addresses, masks, devices with masks,
// protocol, and which of them are inverted (source 0x08, destination 0x10, incoming
// device 0x01, outgoing 0x02, protocol 0x40).
func (f xtFamily) header(r *reader, b []byte) {
	inv := b[f.invflags]
	for i, field := range []string{"saddr", "daddr"} {
		a, mask := b[i*f.addr:(i+1)*f.addr], b[(i+2)*f.addr:(i+3)*f.addr]
		if slices.Max(mask) == 0 {
			continue
		}
		v, ok := prefixText(a, mask)
		if !ok {
			r.unread()
			continue
		}
		if p, _ := netip.ParsePrefix(v); p.IsSingleIP() {
			v = p.Addr().String()
		}
		r.add(datapath.FilterMatch{Field: field, Not: inv&(0x08<<i) != 0, Values: []string{v}})
	}
	for i, field := range []string{"iifname", "oifname"} {
		name := b[4*f.addr+i*unix.IFNAMSIZ:][:unix.IFNAMSIZ]
		mask := b[4*f.addr+(i+2)*unix.IFNAMSIZ:][:unix.IFNAMSIZ]
		if mask[0] == 0 {
			continue
		}
		v := text(name)
		if n := slices.Index(mask, 0); n >= 0 && n <= len(v) { // the name's end is not compared; iptables leaves its + there
			v = v[:n] + "*"
		}
		r.add(datapath.FilterMatch{Field: field, Not: inv&(0x01<<i) != 0, Values: []string{v}})
	}
	if p := binary.NativeEndian.Uint16(b[f.proto:]); p != 0 {
		r.add(datapath.FilterMatch{Field: "l4proto", Not: inv&0x40 != 0, Values: []string{protocolName(byte(p))}})
	}
}
