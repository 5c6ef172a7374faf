package dbus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Types of messages and codes of header fields (D-Bus specification, "Message
// Format").
const (
	methodCall   = 1
	methodReturn = 2
	errorReply   = 3
	signal       = 4

	fieldPath        = 1
	fieldInterface   = 2
	fieldMember      = 3
	fieldError       = 4
	fieldReplySerial = 5
	fieldDestination = 6
	fieldSignature   = 8

	fixedHeader = 16
	mostMessage = 1 << 20 // bytes; the bus allows 128 MiB
)

// Call is one method call.
type Call struct {
	Path, Interface, Member string
	Args                    []any // strings and int32
}

// marshal writes the call in little endian.
func (c Call) marshal(destination string, serial uint32) []byte {
	body, signature := c.body()
	b := []byte{'l', methodCall, 0, 1}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = binary.LittleEndian.AppendUint32(b, serial)
	b = append(b, 0, 0, 0, 0) // length of the fields, below
	field := func(code byte, typ, value string) {
		b = pad(b, 8)
		b = append(b, code, 1, typ[0], 0)
		if typ == "g" {
			b = append(b, byte(len(value)))
			b = append(b, value...)
			b = append(b, 0)
			return
		}
		b = appendString(b, value)
	}
	field(fieldPath, "o", c.Path)
	field(fieldInterface, "s", c.Interface)
	field(fieldMember, "s", c.Member)
	field(fieldDestination, "s", destination)
	if signature != "" {
		field(fieldSignature, "g", signature)
	}
	binary.LittleEndian.PutUint32(b[12:], uint32(len(b)-fixedHeader))
	return append(pad(b, 8), body...)
}

func (c Call) body() (b []byte, signature string) {
	for _, a := range c.Args {
		switch a := a.(type) {
		case string:
			b, signature = appendString(b, a), signature+"s"
		case int32:
			b, signature = binary.LittleEndian.AppendUint32(pad(b, 4), uint32(a)), signature+"i"
		}
	}
	return b, signature
}

func pad(b []byte, to int) []byte {
	for len(b)%to != 0 {
		b = append(b, 0)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	b = binary.LittleEndian.AppendUint32(pad(b, 4), uint32(len(s)))
	return append(append(b, s...), 0)
}

// message is what came.
type message struct {
	typ       byte
	member    string // of a signal
	serial    uint32 // of the call that it answers
	err       string // the error's name
	signature string
	body      []byte
	order     binary.ByteOrder
}

// read takes one message off the connection.
func read(r io.Reader) (message, error) {
	head := make([]byte, fixedHeader)
	if _, err := io.ReadFull(r, head); err != nil {
		return message{}, fmt.Errorf("read from the bus: %w", err)
	}
	order, err := orderOf(head[0])
	if err != nil {
		return message{}, err
	}
	fields, body := order.Uint32(head[12:]), order.Uint32(head[4:])
	padded := (uint64(fields) + 7) &^ 7
	if padded+uint64(body) > mostMessage {
		return message{}, fmt.Errorf("message of %d bytes; at most %d are taken", padded+uint64(body), mostMessage)
	}
	rest := make([]byte, padded+uint64(body))
	if _, err := io.ReadFull(r, rest); err != nil {
		return message{}, fmt.Errorf("read from the bus: %w", err)
	}
	out := message{typ: head[1], body: rest[padded:], order: order}
	return out, out.fields(rest[:fields])
}

func orderOf(mark byte) (binary.ByteOrder, error) {
	switch mark {
	case 'l':
		return binary.LittleEndian, nil
	case 'B':
		return binary.BigEndian, nil
	}
	return nil, fmt.Errorf("message of byte order %q", mark)
}

var errShort = errors.New("message ends early")

// fields reads the array of (code, variant). It began at a multiple of 8.
func (r *message) fields(b []byte) error {
	for at := 0; at < len(b); {
		at = (at + 7) &^ 7
		if at+4 > len(b) {
			return errShort
		}
		code, typ := b[at], b[at+2]
		if b[at+1] != 1 {
			return fmt.Errorf("header field %d of type %q", code, b[at+2:min(at+2+int(b[at+1]), len(b))])
		}
		at += 4
		switch typ {
		case 'u':
			if at+4 > len(b) {
				return errShort
			}
			if code == fieldReplySerial {
				r.serial = r.order.Uint32(b[at:])
			}
			at += 4
		case 'g':
			if at >= len(b) || at+int(b[at])+2 > len(b) {
				return errShort
			}
			if code == fieldSignature {
				r.signature = string(b[at+1 : at+1+int(b[at])])
			}
			at += int(b[at]) + 2
		case 's', 'o':
			s, next, err := r.text(b, at)
			if err != nil {
				return err
			}
			switch code {
			case fieldError:
				r.err = s
			case fieldMember:
				r.member = s
			}
			at = next
		default:
			return fmt.Errorf("header field %d of type %q", code, typ)
		}
	}
	return nil
}

func (r *message) text(b []byte, at int) (s string, next int, err error) {
	if at+4 > len(b) {
		return "", 0, errShort
	}
	n := uint64(r.order.Uint32(b[at:]))
	if uint64(at)+4+n+1 > uint64(len(b)) {
		return "", 0, errShort
	}
	return string(b[at+4 : at+4+int(n)]), at + 4 + int(n) + 1, nil
}

// first is the first value of the body; empty if there is none.
func (r *message) first() (string, error) {
	if r.signature == "" {
		return "", nil
	}
	one := *r
	one.signature = r.signature[:1]
	values, err := one.values()
	if err != nil {
		return "", err
	}
	return values[0], nil
}

// values are those of the body as text: strings, paths, numbers and booleans.
func (r *message) values() (out []string, err error) {
	at := 0
	for _, typ := range r.signature {
		at = (at + 3) &^ 3
		switch typ {
		case 's', 'o':
			s, next, err := r.text(r.body, at)
			if err != nil {
				return nil, err
			}
			out, at = append(out, s), next
		case 'u', 'b':
			if at+4 > len(r.body) {
				return nil, errShort
			}
			n := r.order.Uint32(r.body[at:])
			at += 4
			if typ == 'b' {
				out = append(out, strconv.FormatBool(n != 0))
			} else {
				out = append(out, strconv.FormatUint(uint64(n), 10))
			}
		default:
			return nil, fmt.Errorf("a value of type %q", r.signature)
		}
	}
	return out, nil
}
