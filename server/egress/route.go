package egress

import (
	"fmt"
	"strings"

	"github.com/weft-net/weft/server/kind"
)

// Via is who dials.
type Via string

// Who dials.
const (
	Direct Via = "direct" // this server
	ByNode Via = "node"   // the agent of one node
	ByAny  Via = "any"    // an agent: a default route's before others
)

// Way is how a target is reached, and why so.
type Way struct {
	Via  Via
	Node string // of ByNode
	Why  string
}

// route says how a target is reached: the node that was asked for, or by the mode
// and by what is known of the place. It is pure.
func route(mode, node string, p Place) (Way, *Refusal) {
	if node != "" {
		return Way{ByNode, node, "node " + node + " was asked for"}, nil
	}
	if !tunnelled(mode, p.Kind) {
		return Way{Via: Direct, Why: fmt.Sprintf("%s; egressSelectorMode %s dials that directly", said(p), mode)}, nil
	}
	switch len(p.Nodes) {
	case 0:
		return Way{Via: ByAny, Why: said(p)}, nil
	case 1:
		return Way{ByNode, p.Nodes[0], said(p)}, nil
	}
	return Way{}, refuse(Ambiguous, "%s", said(p)).do("say which: weft dial NODE HOST:PORT, or the header Weft-Node on CONNECT")
}

// tunnelled is the table of modes: which kinds of target go through tunnels.
func tunnelled(mode string, k Kind) bool {
	switch k {
	case NodeAddress, FabricAddress:
		return mode != kind.EgressDisabled
	case Leased, Announced, Unleased:
		return mode == kind.EgressPod || mode == kind.EgressCluster
	case Attached, ServiceAddress:
		return mode == kind.EgressCluster
	}
	return false
}

// said is what is known of a place, in a sentence's part.
func said(p Place) string {
	nodes := strings.Join(p.Nodes, " and ")
	switch p.Kind {
	case FabricAddress, NodeAddress:
		return "is an address of node " + nodes
	case Leased:
		return fmt.Sprintf("is in %v, leased to node %s", p.Prefix, nodes)
	case Attached:
		return "is an endpoint of node " + nodes
	case Announced:
		return fmt.Sprintf("is in %v, which node %s announces", p.Prefix, nodes)
	case ServiceAddress:
		return fmt.Sprintf("is a service's address, in %v", p.Prefix)
	case Unleased:
		return fmt.Sprintf("is in %v of the cluster, and leased to nobody", p.Prefix)
	case Named:
		return "is a name of no node"
	}
	return "is nothing of the cluster's"
}
