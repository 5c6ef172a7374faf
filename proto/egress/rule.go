package egress

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Ports is a range of ports, first to last, both among them.
type Ports struct{ First, Last uint16 }

// ParsePorts reads 80 or 8000-8100.
func ParsePorts(s string) (Ports, error) {
	first, last, ranged := strings.Cut(s, "-")
	if !ranged {
		last = first
	}
	a, err1 := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || a == 0 || b < a {
		return Ports{}, fmt.Errorf("%.60q is no port; accepted: 1 to 65535, or a range such as 8000-8100", s)
	}
	return Ports{uint16(a), uint16(b)}, nil
}

// String is what ParsePorts reads.
func (p Ports) String() string {
	if p.First == p.Last {
		return strconv.Itoa(int(p.First))
	}
	return fmt.Sprintf("%d-%d", p.First, p.Last)
}

// MarshalJSON is a number, or the text of a range.
func (p Ports) MarshalJSON() ([]byte, error) {
	if p.First == p.Last {
		return []byte(p.String()), nil
	}
	return json.Marshal(p.String())
}

// UnmarshalJSON reads a number, or a text as ParsePorts does.
func (p *Ports) UnmarshalJSON(b []byte) error {
	text := string(b)
	if len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	}
	read, err := ParsePorts(text)
	if err == nil {
		*p = read
	}
	return err
}

// Rule is some addresses or names, and some ports of them. One of Prefix and Host
// is set.
type Rule struct {
	Prefix netip.Prefix
	Host   string  // a name, or *.example.com
	Ports  []Ports // none: all
}

// String is the rule as its line of a policy: cidr 10.42.0.0/16 ports 80 443.
func (r Rule) String() string {
	var b strings.Builder
	if r.Host != "" {
		b.WriteString("host " + r.Host)
	} else {
		b.WriteString("cidr " + r.Prefix.String())
	}
	for i, p := range r.Ports {
		if i == 0 {
			b.WriteString(" ports")
		}
		b.WriteString(" " + p.String())
	}
	return b.String()
}

// Validate refuses a rule that could not mean what it says. The error names the
// field in it.
func (r Rule) Validate() (field string, err error) {
	switch p := r.Prefix; {
	case r.Host == "" && !p.IsValid():
		return "cidr", fmt.Errorf("is missing; give cidr or host")
	case r.Host != "" && p.IsValid():
		return "host", fmt.Errorf("stands beside cidr; give one of them a rule")
	case r.Host != "":
		if err := validPattern(r.Host); err != nil {
			return "host", err
		}
	case p.Addr().Is4In6():
		return "cidr", fmt.Errorf("%v is IPv4 mapped into IPv6; write it as IPv4", p)
	case p != p.Masked():
		return "cidr", fmt.Errorf("%v has host bits; did you mean %v", p, p.Masked())
	}
	for i, p := range r.Ports {
		if p.First == 0 || p.Last < p.First {
			return fmt.Sprintf("ports[%d]", i), fmt.Errorf("%v is no port; accepted: 1 to 65535, or a range such as 8000-8100", p)
		}
	}
	return "", nil
}

// Equal tells whether two rules say the same in the same words.
func (r Rule) Equal(o Rule) bool {
	return r.Prefix == o.Prefix && r.Host == o.Host && slices.Equal(r.Ports, o.Ports)
}

func (r Rule) hasPort(port uint16) bool {
	return len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, func(p Ports) bool { return p.First <= port && port <= p.Last })
}

// names tells whether the rule is of that one address.
func (r Rule) names(a netip.Addr) bool {
	return r.Host == "" && r.Prefix.IsSingleIP() && r.Prefix.Addr() == a
}

// matches tells whether a target is meant: by its name, or by its address once that
// is known.
func (r Rule) matches(t Target) bool {
	if !r.hasPort(t.Port) {
		return false
	}
	if r.Host != "" {
		return hostMatches(r.Host, t.Host)
	}
	return t.Addr.IsValid() && r.Prefix.Contains(t.Addr)
}
