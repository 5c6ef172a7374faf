package kind

import (
	"fmt"
	"net/netip"
)

// Claim is what an agent carries of a node that the store does not know: it was
// leased after the backup that the store was restored from.
type Claim struct {
	Node     string
	Prefixes []netip.Prefix
	Labels   map[string]string
	Report   ReportSpec
	Epoch    string // of the intent that the agent holds
	Revision int64  // likewise
}

// Refusal is why a claim was not taken.
type Refusal struct {
	Node   string
	Prefix netip.Prefix // the zero Prefix: all of it
	Owner  string       // node that has it; empty when nobody has
	Cause  string
}

// ClaimError says that a node carries what is another's by the store. It keeps
// what it has, and is told nothing else.
type ClaimError struct {
	Node   string
	Prefix netip.Prefix
	Owner  string // empty: it is outside the ranges, or not as one would be leased
	Why    string
	// Disputed says that the prefix is Node's by the store, and that Owner carries
	// it.
	Disputed bool
}

// Error implements error.
func (e ClaimError) Error() string { return e.cause() + "; " + e.Do() }

func (e ClaimError) cause() string {
	if e.Disputed {
		return fmt.Sprintf("node %s has %v by the store that was restored, and node %s carries it; it is not told to a second one", e.Node, e.Prefix, e.Owner)
	}
	if e.Owner == "" {
		return fmt.Sprintf("node %s carries %v from before the restore, and %s; what it has is not taken from it", e.Node, e.Prefix, e.Why)
	}
	return fmt.Sprintf("node %s carries %v from before the restore, and by the store that is node %s's; it is not renumbered", e.Node, e.Prefix, e.Owner)
}

// Do is what a person can do about it.
func (e ClaimError) Do() string {
	if e.Disputed {
		return fmt.Sprintf("if %s was deleted after the backup: weft delete node %s, and join it again; else: weft delete node %s", e.Node, e.Node, e.Owner)
	}
	again := fmt.Sprintf("weft delete node %s, and join it again with a token", e.Node)
	if e.Owner == "" {
		return "add a range that holds it to ClusterConfig/default spec.clusterCIDRs, or: " + again
	}
	return fmt.Sprintf("if %s is gone: weft delete node %s; else: %s", e.Owner, e.Owner, again)
}
