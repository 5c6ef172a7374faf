package kind

import (
	"fmt"

	"github.com/weft-net/weft/proto/intent"
)

// Bounds on a join token.
const (
	maxTokenNodes       = 1000
	maxTokenDescription = 256                  // bytes
	maxTokenTTL         = 10 * 365 * 24 * 3600 // seconds
)

// TokenTerms are what an operator asks of a join token.
type TokenTerms struct {
	TTL         int64 // seconds; 0: 24 h, -1: it does not expire
	Nodes       []string
	Labels      map[string]string
	Description string
	Replace     bool
}

// Validate checks the terms by themselves. The error is FieldErrors, in the words of
// the wire.
func (t TokenTerms) Validate() error {
	var bad FieldErrors
	add := func(field, format string, args ...any) {
		bad = append(bad, FieldError{Field: field, Problem: fmt.Sprintf(format, args...)})
	}
	if t.TTL < -1 || t.TTL > maxTokenTTL {
		add("ttl_seconds", "%d is out of bounds; accepted: 1 to %d, 0 for 24 h, -1 for a token that does not expire", t.TTL, maxTokenTTL)
	}
	if n := len(t.Nodes); n > maxTokenNodes {
		add("nodes", "has %d names; at most %d are accepted", n, maxTokenNodes)
	}
	for i, name := range t.Nodes[:min(len(t.Nodes), maxTokenNodes)] {
		if err := intent.ValidName(name); err != nil {
			add(fmt.Sprintf("nodes[%d]", i), "%v", err)
		}
	}
	if n := len(t.Description); n > maxTokenDescription {
		add("description", "has %d bytes; at most %d are accepted", n, maxTokenDescription)
	}
	if err := ValidLabels(t.Labels); err != nil {
		add("labels", "%v", err)
	}
	if t.Replace && len(t.Nodes) == 0 {
		add("nodes", "is empty; a token that replaces names the nodes whose names it may take over (weft token create --node NAME --replace)")
	}
	if len(bad) > 0 {
		return bad
	}
	return nil
}
