package label

import (
	"fmt"
	"regexp"
	"strings"
)

// Bounds of labels, those of Kubernetes, so that its nodes' labels fit.
const (
	maxPart   = 63  // bytes of a value, and of a key behind its domain
	maxDomain = 253 // RFC 1035, section 2.3.4
)

var (
	partForm   = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`)
	domainForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
)

// ValidKey refuses what is no key of a label: a name, or a domain, a / and a name.
func ValidKey(k string) error {
	name := k
	if domain, rest, ok := strings.Cut(k, "/"); ok {
		if len(domain) > maxDomain || !domainForm.MatchString(domain) {
			return fmt.Errorf("key %.60q: what is before / is not a name; accepted: up to %d of a-z, 0-9, and - and . between them", k, maxDomain)
		}
		name = rest
	}
	if len(name) > maxPart || !partForm.MatchString(name) {
		return fmt.Errorf("key %.60q is not accepted; accepted: up to %d of A-Z, a-z, 0-9, and -, _, . between them", k, maxPart)
	}
	return nil
}

// ValidValue refuses what is no value of a label.
func ValidValue(v string) error {
	if v != "" && (len(v) > maxPart || !partForm.MatchString(v)) {
		return fmt.Errorf("%.60q is not accepted; accepted: up to %d of A-Z, a-z, 0-9, and -, _, . between them", v, maxPart)
	}
	return nil
}
