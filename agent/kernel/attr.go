package kernel

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// attrs is a list of netlink attributes as nftables writes them: numbers in
// network byte order (struct nlattr, include/uapi/linux/netlink.h).
type attrs []byte

// attrHeader is the length of struct nlattr; attributes stand on its multiples.
const attrHeader = unix.SizeofNlAttr

func (a *attrs) bytes(typ uint16, b []byte) {
	*a = binary.NativeEndian.AppendUint16(*a, uint16(attrHeader+len(b)))
	*a = binary.NativeEndian.AppendUint16(*a, typ)
	*a = append(*a, b...)
	a.pad()
}

func (a *attrs) pad() {
	for len(*a)%attrHeader != 0 {
		*a = append(*a, 0)
	}
}

func (a *attrs) text(typ uint16, s string) { a.bytes(typ, append([]byte(s), 0)) }

func (a *attrs) u32(typ uint16, v uint32) { a.bytes(typ, binary.BigEndian.AppendUint32(nil, v)) }

func (a *attrs) u64(typ uint16, v uint64) { a.bytes(typ, binary.BigEndian.AppendUint64(nil, v)) }

// nest writes an attribute of attributes.
func (a *attrs) nest(typ uint16, fill func(*attrs)) {
	at := len(*a)
	*a = append(*a, 0, 0, 0, 0)
	fill(a)
	binary.NativeEndian.PutUint16((*a)[at:], uint16(len(*a)-at))
	binary.NativeEndian.PutUint16((*a)[at+2:], typ|unix.NLA_F_NESTED)
	a.pad()
}

// each calls f for every attribute of b.
func each(b []byte, f func(typ uint16, value []byte)) error {
	for len(b) >= attrHeader {
		n := int(binary.NativeEndian.Uint16(b))
		if n < attrHeader || n > len(b) {
			return fmt.Errorf("kernel: netlink attribute of %d bytes in %d", n, len(b))
		}
		f(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[attrHeader:n])
		b = b[min((n+attrHeader-1)&^(attrHeader-1), len(b)):]
	}
	return nil
}

// Values of attributes; a value too short is zero.

func u32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func u64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
