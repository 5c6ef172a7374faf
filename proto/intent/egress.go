package intent

import "github.com/weft-net/weft/proto/egress"

// CollectionEgress holds one object an EgressPolicy, EgressKey, to all nodes: each
// tells by its name and labels whether it is meant.
const (
	CollectionEgress = "egress"
	SchemaEgress     = 1
)

// EgressKey is the key of a policy's object in CollectionEgress.
func EgressKey(name string) string { return "EgressPolicy//" + name }

// EgressPolicies lists the policies that are of this node, by name.
func (n Node) EgressPolicies() []egress.Policy {
	self, _ := n.Self()
	return egress.Of(n.Egress, n.Name, self.Labels)
}
