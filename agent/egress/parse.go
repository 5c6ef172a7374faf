package egress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/proto/egress"
	"go.yaml.in/yaml/v3"
)

// Bounds of the node's file.
const (
	maxFile  = 1 << 20 // bytes
	maxRules = 1024    // of each list
	maxPorts = 256     // of a rule
)

var errEmpty = errors.New("says nothing; write allow: or deny: with rules, or remove the file")

// Parse reads the node's file: allow and deny, each a list of rules with cidr or
// host, and ports. With allow, even an empty one, no more than that is dialled.
// Whatever it does not know it refuses, with the line.
func Parse(b []byte) (egress.Bound, error) {
	if len(b) > maxFile {
		return egress.Bound{}, fmt.Errorf("has %d bytes; at most %d are read", len(b), maxFile)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return egress.Bound{}, errEmpty
	} else if err != nil {
		return egress.Bound{}, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return egress.Bound{}, errors.New("holds more than one document, or something after it; one is read")
	}
	var out egress.Bound
	fields, err := mapping(doc.Content[0], "the file", "allow", "deny")
	if err != nil {
		return egress.Bound{}, err
	}
	if len(fields) == 0 {
		return egress.Bound{}, errEmpty
	}
	allow, limited := fields["allow"]
	if out.Limited = limited; limited {
		if out.Allow, err = rules("allow", allow); err != nil {
			return egress.Bound{}, err
		}
	}
	if deny, ok := fields["deny"]; ok {
		if out.Deny, err = rules("deny", deny); err != nil {
			return egress.Bound{}, err
		}
	}
	return out, nil
}

// wrong is what is wrong in a line.
func wrong(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("line %d: "+format, append([]any{n.Line}, args...)...)
}

// mapping takes the fields of a node apart, each known and there once.
func mapping(n *yaml.Node, what string, known ...string) (map[string]*yaml.Node, error) {
	if n.Kind != yaml.MappingNode {
		return nil, wrong(n, "%s is no set of fields; accepted: %s", what, strings.Join(known, ", "))
	}
	out := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode || !slices.Contains(known, key.Value):
			return nil, wrong(key, "%.60q is not a field of %s; accepted: %s", key.Value, what, strings.Join(known, ", "))
		case out[key.Value] != nil:
			return nil, wrong(key, "%s is there twice", key.Value)
		}
		out[key.Value] = n.Content[i+1]
	}
	return out, nil
}

func rules(field string, n *yaml.Node) ([]egress.Rule, error) {
	if n.Kind != yaml.SequenceNode {
		return nil, wrong(n, "%s is no list of rules; write %s: [] for none", field, field)
	}
	if len(n.Content) > maxRules {
		return nil, wrong(n, "%s has %d rules; at most %d are accepted", field, len(n.Content), maxRules)
	}
	var out []egress.Rule
	for i, item := range n.Content {
		here := fmt.Sprintf("%s[%d]", field, i)
		r, err := rule(here, item)
		if err != nil {
			return nil, err
		}
		if at, err := r.Validate(); err != nil {
			return nil, wrong(item, "%s.%s %w", here, at, err)
		}
		if what, is := egress.SpecialRange(r.Prefix); field == "allow" && r.Host == "" && is && !r.Prefix.IsSingleIP() {
			return nil, wrong(item, "%s.cidr %v opens nothing: it is %s, and such an address is named by itself", here, r.Prefix, what)
		}
		out = append(out, r)
	}
	return out, nil
}

func rule(here string, n *yaml.Node) (egress.Rule, error) {
	fields, err := mapping(n, here, "cidr", "host", "ports")
	if err != nil {
		return egress.Rule{}, err
	}
	var r egress.Rule
	if c, ok := fields["cidr"]; ok {
		if r.Prefix, err = netip.ParsePrefix(c.Value); err != nil || c.Kind != yaml.ScalarNode {
			return egress.Rule{}, wrong(c, "%s.cidr %.60q is not a range; write one as 10.42.0.0/16 or fd42:42::/48, and one address as 10.42.1.5/32", here, c.Value)
		}
	}
	if h, ok := fields["host"]; ok {
		if r.Host = h.Value; h.Kind != yaml.ScalarNode || r.Host == "" {
			return egress.Rule{}, wrong(h, "%s.host is no name", here)
		}
	}
	p, ok := fields["ports"]
	if !ok {
		return r, nil
	}
	if p.Kind != yaml.SequenceNode || len(p.Content) == 0 || len(p.Content) > maxPorts {
		return egress.Rule{}, wrong(p, "%s.ports is no list of 1 to %d ports; leave it out for all", here, maxPorts)
	}
	for _, item := range p.Content {
		ports, err := egress.ParsePorts(item.Value)
		if err != nil || item.Kind != yaml.ScalarNode {
			return egress.Rule{}, wrong(item, "%s.ports: %.60q is no port; accepted: 1 to 65535, or a range such as 8000-8100", here, item.Value)
		}
		r.Ports = append(r.Ports, ports)
	}
	return r, nil
}
