package main

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/nat"
	"github.com/weft-net/weft/agent/overlay"
	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// kernelOf is the kernel that an intent asks of a node, by the agent's own
// planner, and the problems that it would report.
func kernelOf(n *weftv1.NodePlan, told *weftv1.NodeIntent) (datapath.State, []string, error) {
	if told == nil {
		return datapath.State{}, nil, nil
	}
	underlay, err := intent.DecodeUnderlay(n.GetReport().GetAddresses())
	if err != nil {
		return nil, nil, err
	}
	mac, err := intent.ParseMAC(n.GetReport().GetVtepMac())
	if err != nil {
		return nil, nil, err
	}
	node, bad := decoded(n, told)
	var problems []string
	for _, b := range bad {
		problems = append(problems, b.Error())
	}
	self, ok := node.Self()
	made, found := overlay.Objects(overlay.Node{Intent: node, Underlay: underlay, VTEP: mac, Slots: self.Slots, Choices: sendings(node, n.GetSends())})
	for _, p := range found {
		problems = append(problems, fmt.Sprintf("%s: %s", p.Subject, p.Cause))
	}
	if !ok || len(self.Lease) == 0 {
		return datapath.State{}, problems, nil // an agent without a lease leaves its kernel alone
	}
	translation, err := nat.Objects(nat.Node{Cluster: node.Cluster, Lease: self.Lease})
	if err != nil {
		problems = append(problems, err.Error())
	}
	state, err := datapath.Merge(made, translation)
	return state, problems, err
}

// steps are those that change something, in the agent's order. An agent takes the routes
// from an address for lost when a device that is to have it does not yet, because it
// cannot tell which of the two it saw first; here both states are of one moment, and
// routes are lost with the last device only that has their source.
func steps(want, have datapath.State) []datapath.Op {
	held := map[netip.Addr]bool{} // by a device that stays
	for k, o := range have {
		if a, ok := o.(datapath.Addr); ok && want[k] != nil {
			held[a.Prefix.Addr()] = true
		}
	}
	rest := maps.Clone(want)
	var more []datapath.Op
	for k, o := range want {
		if a, ok := o.(datapath.Addr); ok && have[k] == nil && held[a.Prefix.Addr()] {
			more = append(more, datapath.Op{New: o})
			delete(rest, k)
		}
	}
	slices.SortFunc(more, func(a, b datapath.Op) int { return strings.Compare(a.String(), b.String()) })
	out := datapath.Diff(rest, have)
	at := slices.IndexFunc(out, func(op datapath.Op) bool { // after devices and their settings
		k := op.Key().Kind
		return k < datapath.KindSet && (op.New == nil || k >= datapath.KindAddr)
	})
	if at < 0 {
		at = len(out)
	}
	return slices.Insert(out, at, more...)
}

// decoded is what a node is told, as a value.
func decoded(n *weftv1.NodePlan, told *weftv1.NodeIntent) (intent.Node, []intent.ObjectError) {
	var objects []intent.Object
	for _, s := range told.GetObjects() {
		objects = append(objects, intent.Object{Collection: s.GetCollection(), Key: s.GetKey(), Revision: s.GetRevision(), Value: s.GetValue()})
	}
	return intent.Decode(n.GetNode(), told.GetEpoch(), told.GetCompileVersion(), told.GetRevision(), objects)
}
