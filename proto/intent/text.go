package intent

import (
	"fmt"
	"strings"
)

// Text is a node's intent as an operator reads it, a line a fact. The server's and
// the agent's answers are the same lines, so that they can be compared.
func (n Node) Text() []string {
	c := n.Cluster
	out := []string{
		fmt.Sprintf("node %s epoch %s revision %d", n.Name, n.Epoch, n.Revision),
		fmt.Sprintf("cluster %s services %s backend %s mtu %s", listed(c.CIDRs), listed(c.ServiceCIDRs), c.Backend, mtuText(c.MTU)),
	}
	if c.Backend == VXLAN {
		out = append(out, fmt.Sprintf("vxlan id %d dstport %d directRouting %t", c.VNI, c.VXLANPort, c.DirectRouting))
	}
	for _, k := range c.Receive {
		line := "receives " + k.String()
		if len(c.Behind) > 0 {
			line += ", which pairs with " + listed(c.Behind) + " use"
		}
		out = append(out, line)
	}
	if len(c.Masquerade) > 0 {
		line := "masquerade " + listed(c.Masquerade)
		if len(c.NonMasquerade) > 0 {
			line += " but not to " + listed(c.NonMasquerade)
		}
		out = append(out, line)
	}
	for _, p := range n.Peers {
		var at []string
		for _, u := range p.Underlay {
			at = append(at, fmt.Sprintf("%v dev %s mtu %d", u.Addr, u.Device, u.MTU))
		}
		out = append(out, fmt.Sprintf("peer %s lease %s at %s vtep %v", p.Name, listed(p.Lease), orNone(strings.Join(at, ", ")), p.VTEP))
	}
	for _, p := range n.Egress {
		out = append(out, "egress policy "+p.String())
	}
	if n.Pause != (Pause{}) {
		out = append(out, fmt.Sprintf("pause for %v by %s: %s", n.Pause.For, orNone(n.Pause.By), orNone(n.Pause.Reason)))
	}
	return out
}

func mtuText(mtu int) string {
	if mtu == 0 {
		return "of each path"
	}
	return fmt.Sprint(mtu)
}

func listed[T any](list []T) string {
	var out []string
	for _, v := range list {
		out = append(out, fmt.Sprint(v))
	}
	return orNone(strings.Join(out, ","))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
