package probe

import (
	"fmt"

	"github.com/weft-net/weft/proto/disco"
	"github.com/weft-net/weft/proto/echo"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// udpHeader is its length in bytes (RFC 768).
const udpHeader = 8

// whole is how many bytes of a packet a filter lets through: more than there are.
const whole = 1 << 18

// nothing lets no packet through.
func nothing() []bpf.Instruction { return []bpf.Instruction{bpf.RetConstant{Val: 0}} }

// outerFilter lets through datagrams of packages disco and echo to some UDP ports. A
// raw socket of IPv4 sees the packet from its IP header on, one of IPv6 from the UDP
// header on (Linux: net/ipv4/raw.c, raw_rcv; net/ipv6/raw.c, rawv6_rcv).
func outerFilter(is4 bool, ports []uint16) []bpf.Instruction {
	if len(ports) == 0 {
		return nothing()
	}
	prog := []bpf.Instruction{udpAt(is4), bpf.LoadIndirect{Off: 2, Size: 2}} // X: the UDP header; A: destination port
	for i, port := range ports {
		// To the instruction after the last comparison and its refusal.
		prog = append(prog, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(port), SkipTrue: uint8(len(ports) - i)})
	}
	prog = append(prog,
		bpf.RetConstant{Val: 0},
		bpf.LoadIndirect{Off: udpHeader, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: disco.Magic, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: echo.Magic, SkipTrue: 5},
		bpf.LoadIndirect{Off: 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: udpHeader + echo.Size, SkipTrue: 2, SkipFalse: 3},
		bpf.LoadIndirect{Off: 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: udpHeader + disco.Size, SkipTrue: 1},
		bpf.RetConstant{Val: whole},
		bpf.RetConstant{Val: 0},
	)
	return prog
}

// udpAt puts into X where the upper header begins.
func udpAt(is4 bool) bpf.Instruction {
	if is4 {
		return bpf.LoadMemShift{Off: 0}
	}
	return bpf.LoadConstant{Dst: bpf.RegX, Val: 0}
}

// innerFilter lets through replies to echo requests with an identifier.
func innerFilter(is4 bool, ident uint16) []bpf.Instruction {
	reply := uint32(reply6)
	if is4 {
		reply = reply4
	}
	return []bpf.Instruction{
		udpAt(is4),
		bpf.LoadIndirect{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: reply, SkipTrue: 3},
		bpf.LoadIndirect{Off: 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(ident), SkipTrue: 1},
		bpf.RetConstant{Val: whole},
		bpf.RetConstant{Val: 0},
	}
}

// attach puts a filter on a socket in place of what is there, at once.
func attach(fd int, prog []bpf.Instruction) error {
	raw, err := bpf.Assemble(prog)
	if err != nil {
		return fmt.Errorf("probe: filter: %w", err)
	}
	list := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		list[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	p := unix.SockFprog{Len: uint16(len(list)), Filter: &list[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &p); err != nil {
		return fmt.Errorf("probe: attach a filter: %w", err)
	}
	return nil
}
