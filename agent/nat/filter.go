package nat

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/weft-net/weft/agent/datapath"
)

// tunnel keeps pods out of the fabric's own VXLAN, which has no authentication:
// a peer knows a sender by its node's address, which masquerade gives to pods
// too. The first rule stands before whatever translates destinations, and before
// what antispoof lets pass; the second sees what others have translated since,
// as a Service does. A hostPort never takes what comes from peers.
func (p *plan) tunnel() {
	for i, k := range p.Cluster.VXLANs() {
		ours := []datapath.Match{
			is(datapath.UDPDPort, strconv.Itoa(int(k.Port))),
			is(datapath.VNI, strconv.FormatUint(uint64(k.VNI), 10)),
		}
		fromPod := append([]datapath.Match{is(datapath.IIfName, podLinks)}, ours...)
		for _, chain := range []string{datapath.ChainSpoof, datapath.ChainForward} {
			p.rules(chain, tunnelIndex+i, rule("the fabric's VXLAN is no pod's", do(datapath.Counter, datapath.Drop), fromPod...))
		}
		p.rules(datapath.ChainHostPort, tunnelIndex+i, rule("", do(datapath.Return), ours...))
	}
}

// antispoof drops what a pod sends with a source that is not routed back to its
// own device. Link-local and unspecified sources are those of neighbour
// discovery and duplicate address detection (RFC 4861, RFC 4862); the kernel
// forwards neither.
func (p *plan) antispoof() {
	pod := is(datapath.IIfName, podLinks)
	p.rules(
		datapath.ChainSpoof, ruleIndex,
		rule("loopback is the node's own", do(datapath.Counter, datapath.Drop), pod, is(datapath.DAddr4, "127.0.0.0/8")),
		rule("", do(datapath.Return), pod, is(datapath.SAddr6, "fe80::/10")),
		rule("", do(datapath.Return), pod, is(datapath.SAddr6, "::")),
		rule("spoofed source", do(datapath.Counter, datapath.Drop), pod, is(datapath.FibSAddrIf, "missing")),
	)
}

// clamp lowers the MSS of connections of pods, and of whatever else crosses our
// devices, to what the narrower way of both directions carries. Only a SYN
// passes more than one rule.
func (p *plan) clamp() {
	const chain = "clampmss"
	p.add(datapath.Chain{Name: chain})
	p.rules(datapath.ChainClamp, ruleIndex,
		rule("", with(datapath.Jump, chain), is(datapath.TCPFlags, "syn")))
	var rules []datapath.Rule
	for _, links := range []string{podLinks, "weft-*"} {
		for _, field := range []datapath.Field{datapath.IIfName, datapath.OIfName} {
			rules = append(rules, rule("", do(datapath.ClampMSS, datapath.Return), is(field, links)))
		}
	}
	p.rules(chain, 0, rules...)
}

// GuardChain counts and drops what others would have forwarded.
const GuardChain = "notrouter"

// guard keeps the host from becoming a router where forwarding is our doing.
// What somebody translated (a hostPort, a Service) was meant to be forwarded.
func (p *plan) guard() {
	if len(p.Guard) == 0 {
		return
	}
	const chain = GuardChain
	p.add(datapath.Chain{Name: chain})
	p.rules(datapath.ChainForward, guardIndex, rule("", with(datapath.Jump, chain), is(datapath.CTState, "new")))
	rules := []datapath.Rule{rule("", do(datapath.Return), is(datapath.CTStatus, "dnat"))}
	for _, f := range families {
		if !slices.Contains(p.Guard, f.is4) {
			rules = append(rules, rule("", do(datapath.Return), is(datapath.NFProto, f.nfproto)))
			continue
		}
		for _, c := range p.fabric(f) {
			rules = append(rules,
				rule("", do(datapath.Return), is(f.saddr, c.String())),
				rule("", do(datapath.Return), is(f.daddr, c.String())))
		}
	}
	rules = append(rules, rule("this host is no router", do(datapath.Counter, datapath.Drop)))
	p.rules(chain, 0, rules...)
}

// fabric is what this host forwards for: the cluster and the node's own lease.
func (p *plan) fabric(f family) []netip.Prefix {
	var out []netip.Prefix
	for _, c := range slices.Concat(p.Cluster.CIDRs, p.Lease) {
		if f.has(c) {
			out = append(out, c)
		}
	}
	return distinct(out)
}
