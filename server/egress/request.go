package egress

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	rules "github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/proto/intent"
)

// Asker is who wants a connection, as the front end knows it.
type Asker struct {
	User  string // name in the certificate; empty: whoever may open the socket
	Role  string // viewer, operator, admin; Local of a socket on this machine
	Front string // connect, socket, konnectivity
	From  string // address, for the audit; may be empty
}

// Local is the role of who comes over a unix socket that only root opens: the
// kube-apiserver beside this server.
const Local = "local"

// String names an asker: "admin ann over connect".
func (a Asker) String() string {
	who := a.Role
	if a.User != "" {
		who += " " + a.User
	}
	return who + " over " + a.Front
}

// Request is what shall be dialled, over TCP.
type Request struct {
	Host string // an address without brackets or zone, or a name
	Port uint16
	Node string // whose agent shall dial; empty: whoever serves Host
}

// maxHost bounds a name: 253 octets without the last dot (RFC 1035, section 2.3.4).
const maxHost = 253

// ParseTarget reads "host:port" as CONNECT has it (RFC 9110, section 9.3.6), from
// outside. The error is a Refusal.
func ParseTarget(target string) (Request, error) {
	if len(target) > maxHost+len("[]:65535") {
		return Request{}, refuse(Malformed, "the target has %d bytes; at most %d are accepted", len(target), maxHost+len("[]:65535"))
	}
	host, service, err := net.SplitHostPort(target)
	if err != nil {
		return Request{}, refuse(Malformed, "%.60q is no target", target).do("write HOST:PORT, an IPv6 address in brackets")
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil || port == 0 || strings.ContainsAny(service, "+") {
		return Request{}, refuse(Malformed, "%.60q has no port from 1 to 65535", target)
	}
	r := Request{Host: host, Port: uint16(port)}
	return r.checked()
}

// checked is a request whose host is an address as it is written shortest, or a name
// that no resolver takes for an address.
func (r Request) checked() (Request, error) {
	if r.Port == 0 {
		return Request{}, refuse(Malformed, "there is no port; write HOST:PORT")
	}
	if r.Node != "" {
		if err := intent.ValidName(r.Node); err != nil {
			return Request{}, refuse(Malformed, "the node's name %v", err)
		}
	}
	if a, err := netip.ParseAddr(r.Host); err == nil {
		if a.Zone() != "" {
			return Request{}, refuse(Malformed, "%v has a zone, which means something on one machine only", a)
		}
		r.Host = a.Unmap().String()
		return r, nil
	}
	name := strings.ToLower(strings.TrimSuffix(r.Host, "."))
	if name == "" || len(name) > maxHost || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-_") != "" || strings.HasPrefix(name, "-") {
		return Request{}, refuse(Malformed, "%.60q is neither an address nor a name", r.Host)
	}
	if err := rules.ValidName(name); err != nil { // 127.1 and the like
		return Request{}, refuse(Malformed, "%v", err)
	}
	r.Host = name
	return r, nil
}

// addr is the host, if it is an address.
func (r Request) addr() (netip.Addr, bool) {
	a, err := netip.ParseAddr(r.Host)
	return a, err == nil
}

// String is HOST:PORT.
func (r Request) String() string {
	return net.JoinHostPort(r.Host, strconv.Itoa(int(r.Port)))
}
