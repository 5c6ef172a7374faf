package kind

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/ipam"
)

// maxNamed bounds how many leases a LeftOut names.
const maxNamed = 12

// InUseError says that a change would take away what is in use.
type InUseError struct {
	Object  string // "Lease/n7"
	Field   string // may be empty
	Problem string
}

// Error implements error.
func (e InUseError) Error() string { return FieldError(e).Error() }

// LeftOut says that a range of the ClusterConfig leaves out leases.
type LeftOut struct {
	Field  string       // "spec.clusterCIDRs[0]"
	Range  netip.Prefix // the zero Prefix if the family has no range any more
	Leases []InUse      // at least one, of one family
	Before netip.Prefix // the range that held the first of them until now, if any
}

// InUse is a lease in the way of a change.
type InUse struct {
	Node   string
	Prefix netip.Prefix
	Joined bool   // else it is a reservation
	Away   bool   // joined, and no server hears it: it cannot be drained
	Note   string // such as "41 pods"; may be empty
}

// Error implements error: what is wrong, the leases by name, what is accepted.
func (e LeftOut) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%s %s: ", ClusterConfig, DefaultName, e.Field)
	if e.Range.IsValid() && e.elsewhere() {
		fmt.Fprintf(&b, "%v is elsewhere: it leaves out %s in use\n", e.Range, leases(len(e.Leases)))
	} else if e.Range.IsValid() {
		fmt.Fprintf(&b, "%v is too small: it leaves out %s in use\n", e.Range, leases(len(e.Leases)))
	} else {
		fmt.Fprintf(&b, "has no %s range: that leaves out %s in use\n", ipam.Family(e.Leases[0].Prefix.Addr().Is4()), leases(len(e.Leases)))
	}
	for i, l := range e.Leases[:min(len(e.Leases), maxNamed)] {
		if i > 0 {
			b.WriteString(" ")
		}
		fmt.Fprintf(&b, "  %s %v", l.Node, l.Prefix)
		if l.Note != "" {
			fmt.Fprintf(&b, " (%s)", l.Note)
		}
	}
	if more := len(e.Leases) - maxNamed; more > 0 {
		fmt.Fprintf(&b, "   and %d more", more)
	}
	fmt.Fprintf(&b, "\n%s; or free them first: %s", e.accepted(), e.remedy())
	return b.String()
}

// elsewhere tells whether the range lies outside of the one before.
func (e LeftOut) elsewhere() bool {
	return e.Before.IsValid() && !ipam.Contains(e.Before, e.holding())
}

// accepted is a range that would do. One that reaches from the leases to another
// range altogether would hold much that is not the fabric's.
func (e LeftOut) accepted() string {
	if e.elsewhere() {
		return fmt.Sprintf("keep %v, it holds %s", e.Before, leases(len(e.Leases)))
	}
	return fmt.Sprintf("accepted: any prefix that holds %v", e.holding())
}

// holding is the smallest prefix that would do.
func (e LeftOut) holding() netip.Prefix {
	var all []netip.Prefix
	if e.Range.IsValid() {
		all = append(all, e.Range)
	}
	for _, l := range e.Leases {
		all = append(all, l.Prefix)
	}
	return ipam.Covering(all)
}

// remedy is what to type so that nothing is in the way any more.
func (e LeftOut) remedy() string {
	var lines []string
	for _, c := range []struct {
		command string
		fits    func(InUse) bool
	}{
		{"weft delete lease", func(l InUse) bool { return !l.Joined }},
		{"weft delete node", func(l InUse) bool { return l.Joined && l.Away }},
		{"weft drain lease", func(l InUse) bool { return l.Joined && !l.Away && e.Range.IsValid() }},
		{"delete the pods that have such addresses on", func(l InUse) bool { return l.Joined && !l.Away && !e.Range.IsValid() }},
	} {
		var names []string
		for _, l := range e.Leases {
			if c.fits(l) && !slices.Contains(names, l.Node) {
				names = append(names, l.Node)
			}
		}
		if len(names) > maxNamed {
			names = append(names[:maxNamed], "…")
		}
		if len(names) > 0 {
			lines = append(lines, c.command+" "+strings.Join(names, " "))
		}
	}
	return strings.Join(lines, ", ")
}

func leases(n int) string {
	if n == 1 {
		return "1 lease"
	}
	return fmt.Sprintf("%d leases", n)
}

// ReadSpec reads the spec of an object that was built or decoded.
func (o Object) ReadSpec(spec any) error {
	if err := json.Unmarshal(o.Spec, spec); err != nil {
		return fmt.Errorf("kind: %s/%s: spec: %w", o.Kind, o.Metadata.Name, err)
	}
	return nil
}
