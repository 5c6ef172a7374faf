package intent

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// maxName is how long a name may be, in bytes: as a DNS name (RFC 1035, section
// 2.3.4), so that names of Kubernetes' nodes fit.
const maxName = 253

var nameForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// ValidName refuses what cannot name an object or a node: a name is a DNS name in
// lower case (RFC 1123). An agent asks before it starts, a server before it
// listens to one.
func ValidName(name string) error {
	switch {
	case name == "":
		return errors.New("is missing; give a name")
	case len(name) > maxName:
		return fmt.Errorf("has %d bytes; at most %d are accepted", len(name), maxName)
	case nameForm.MatchString(name):
		return nil
	case nameForm.MatchString(strings.ToLower(name)):
		return fmt.Errorf("%.60q has capitals; did you mean %s", name, strings.ToLower(name))
	}
	return fmt.Errorf("%.60q is not a name; accepted: a-z, 0-9, - and . between them", name)
}
