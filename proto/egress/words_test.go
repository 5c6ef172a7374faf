package egress

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-net/weft/proto/label"
)

// rules reads what is said about n1: "ahead", "server", "file: allow cidr 10.42.0.0/16 ports
// 80", "file: closed", "policy shop role=viewer only: deny host *.internal".
func rules(t *testing.T, said string) Rules {
	t.Helper()
	r := Rules{Facts: n1()}
	for _, part := range strings.Split(said, " | ") {
		subject, list, _ := strings.Cut(part, ":")
		switch words := strings.Fields(subject); {
		case part == "":
		case part == "ahead":
			r.Ahead = true
		case part == "server":
			r.Server = "s1"
		case part == "server of nobody's":
			r.Server, r.Facts = "s1", Facts{Services: r.Facts.Services, Cluster: r.Facts.Cluster}
		case part == "file: closed":
			r.Bound.Closed = "line 3: no such field"
		case part == "file: none":
			r.Bound.Limited = true
		case words[0] == "file":
			r.Bound.Allow, r.Bound.Deny = ruleLists(t, list)
			r.Bound.Limited = len(r.Bound.Allow) > 0
		case words[0] == "policy":
			r.Policies = append(r.Policies, policy(t, words[1:], list))
		default:
			t.Fatalf("%q is not understood", part)
		}
	}
	return r
}

func policy(t *testing.T, words []string, list string) Policy {
	t.Helper()
	p := Policy{Name: words[0]}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "only":
			p.Only = true
		case "user":
			p.Users = append(p.Users, value)
		case "role":
			p.Roles = append(p.Roles, value)
		case "node":
			p.Nodes = append(p.Nodes, value)
		case "at":
			var err error
			if p.Selector, err = label.ParseSelector(value); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("%q is not understood", w)
		}
	}
	p.Allow, p.Deny = ruleLists(t, list)
	return p
}

func ruleLists(t *testing.T, list string) (allow, deny []Rule) {
	t.Helper()
	for _, text := range strings.Split(list, ";") {
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		r := Rule{}
		if words[1] == "host" {
			r.Host = words[2]
		} else {
			r.Prefix = pfx(words[2])
		}
		for _, w := range words[min(4, len(words)):] {
			p, err := ParsePorts(w)
			if err != nil {
				t.Fatal(err)
			}
			r.Ports = append(r.Ports, p)
		}
		if field, err := r.Validate(); err != nil {
			t.Fatalf("%s: %s %v", text, field, err)
		}
		if words[0] == "allow" {
			allow = append(allow, r)
		} else {
			deny = append(deny, r)
		}
	}
	return allow, deny
}

// dial reads "alice/operator own name=10.0.0.1:22": who, whether the kernel says
// that the address is its own, and what.
func dial(t *testing.T, text string) (Asker, Target) {
	t.Helper()
	by, target := Asker{User: "alice", Role: "operator"}, Target{}
	words := strings.Fields(text)
	for _, w := range words[:len(words)-1] {
		if user, role, ok := strings.Cut(w, "/"); ok {
			by = Asker{User: user, Role: role}
		} else {
			target.Own = w == "own"
		}
	}
	last := words[len(words)-1]
	i := strings.LastIndex(last, ":")
	for _, d := range last[i+1:] {
		target.Port = target.Port*10 + uint16(d-'0')
	}
	name, at, resolved := strings.Cut(last[:i], "=")
	if !resolved {
		at = name
	}
	a, err := netip.ParseAddr(strings.Trim(at, "[]"))
	if err == nil {
		target.Addr = a
	}
	if resolved || err != nil {
		target.Host = name
	}
	return by, target
}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func pfxs(ss ...string) (out []netip.Prefix) {
	for _, s := range ss {
		out = append(out, pfx(s))
	}
	return out
}

func addrs(ss ...string) (out []netip.Addr) {
	for _, s := range ss {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}
