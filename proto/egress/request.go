package egress

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/proto"
)

// MaxRequest bounds an encoded Request, in bytes.
const MaxRequest = 4096

const (
	tcp     = "tcp"
	maxWord = 253 // bytes of an id, a user, a role, a front end, a node
)

// Asker is who wants to dial.
type Asker struct {
	User  string
	Role  string // RoleLocal or one of users
	Front string // the front end that took it: connect, socket, konnectivity
}

// String names who asks, for logs and reasons.
func (a Asker) String() string {
	return cmp.Or(a.User, "nobody") + " (" + cmp.Or(a.Role, "no role") + ")"
}

// Request is what a stream of a tunnel is opened for. Over TCP: there is nothing
// else yet.
type Request struct {
	ID   string // of the dial, the same in the traces of both ends
	Host string // a name in lower case, or an address
	Port uint16
	By   Asker
	Node string // that it is meant for; empty: any
}

// Target is what the request asks for, before a name is resolved.
func (r Request) Target() Target {
	name, addr, err := ParseHost(r.Host)
	if err != nil {
		name, addr = r.Host, netip.Addr{}
	}
	return Target{Host: name, Addr: addr, Port: r.Port}
}

// Encode is the wire form, at most MaxRequest bytes of what Decode takes.
func (r Request) Encode() []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&weftv1.DialRequest{
		Network: tcp, Host: r.Host, Port: uint32(r.Port), Id: r.ID, User: r.By.User, Role: r.By.Role, Front: r.By.Front, Node: r.Node,
	})
	if err != nil {
		return nil // a text that is not UTF-8: nothing is no request
	}
	return b
}

// Decode reads what Encode writes. The error names the field.
func Decode(b []byte) (Request, error) {
	if len(b) > MaxRequest {
		return Request{}, fmt.Errorf("egress: a request of %d bytes; at most %d are read", len(b), MaxRequest)
	}
	var m weftv1.DialRequest
	if err := proto.Unmarshal(b, &m); err != nil {
		return Request{}, errors.New("egress: not a DialRequest")
	}
	if m.Network != tcp {
		return Request{}, fmt.Errorf("egress: network %.20q; accepted: tcp", m.Network)
	}
	if m.Port < 1 || m.Port > 65535 {
		return Request{}, fmt.Errorf("egress: port %d; accepted: 1 to 65535", m.Port)
	}
	name, addr, err := ParseHost(m.Host)
	if err != nil {
		return Request{}, fmt.Errorf("egress: host %w", err)
	}
	if addr.IsValid() {
		name = addr.String()
	}
	for _, w := range []struct{ field, value string }{{"id", m.Id}, {"user", m.User}, {"role", m.Role}, {"front", m.Front}, {"node", m.Node}} {
		if len(w.value) > maxWord || strings.ContainsFunc(w.value, unicode.IsControl) {
			return Request{}, fmt.Errorf("egress: %s %.60q; accepted: up to %d bytes without control characters", w.field, w.value, maxWord)
		}
	}
	return Request{ID: m.Id, Host: name, Port: uint16(m.Port), By: Asker{m.User, m.Role, m.Front}, Node: m.Node}, nil
}
