package check

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/nat"
	"github.com/weft-net/weft/agent/overlay"
	"github.com/weft-net/weft/proto/intent"
)

// sample is a node with one peer, by which everything that weft programs of one
// family is planned.
func sample(is4 bool) (intent.Node, []intent.Underlay) {
	pfx := netip.MustParsePrefix
	cidr, one, two, under, peer := pfx("10.42.0.0/16"), pfx("10.42.1.0/24"), pfx("10.42.2.0/24"), pfx("192.0.2.1/24"), pfx("192.0.2.2/24")
	if !is4 {
		cidr, one, two, under, peer = pfx("fd42:42::/48"), pfx("fd42:42:0:1::/64"), pfx("fd42:42:0:2::/64"), pfx("2001:db8::1/64"), pfx("2001:db8::2/64")
	}
	us := []intent.Underlay{{Addr: under, Device: "up0", MTU: 1500}}
	return intent.Node{
		Name: "check", Revision: 1,
		Cluster: intent.Cluster{CIDRs: []netip.Prefix{cidr}, Masquerade: []netip.Prefix{cidr}, Backend: intent.VXLAN, VNI: 4096, VXLANPort: 8472},
		Peers: []intent.Peer{
			{Name: "check", Lease: []netip.Prefix{one}, Underlay: us, VTEP: intent.MAC{2, 0, 0, 0, 0, 1}},
			{Name: "peer", Lease: []netip.Prefix{two}, Underlay: []intent.Underlay{{Addr: peer, Device: "up0", MTU: 1500}}, VTEP: intent.MAC{2, 0, 0, 0, 0, 2}},
		},
	}, us
}

// features tries all of it, a family at a time.
func (n Node) features() []Check {
	var out []Check
	for _, f := range []struct {
		is4  bool
		name string
	}{{true, "IPv4"}, {false, "IPv6"}} {
		subject := "kernel " + f.name
		node, us := sample(f.is4)
		err := kernel.Throwaway(n.Log, us[0].Device, us[0].Addr, func(k *kernel.Kernel) error { return try(k, node, us) })
		if err != nil {
			c := fail(subject, "use a kernel of at least 5.4 with VXLAN, bridge, veth and nftables (modprobe vxlan nf_tables)", "%v", err)
			if !f.is4 {
				c.Result, c.Remedy = Warn, "boot without ipv6.disable=1 if the cluster has IPv6"
			}
			out = append(out, c)
			continue
		}
		out = append(out, ok(subject, "%s: devices, VXLAN, routes, neighbours and all rules of nftables work", n.Kernel))
	}
	return out
}

// try applies the sample and looks whether the kernel says that it is there.
func try(k *kernel.Kernel, node intent.Node, us []intent.Underlay) error {
	fabric, problems := overlay.Objects(overlay.Node{Intent: node, Underlay: us, VTEP: datapath.MAC{2, 0, 0, 0, 0, 1}})
	for _, p := range problems {
		return errors.New(p.Cause)
	}
	guard := []bool{us[0].Addr.Addr().Is4()}
	rules, err := nat.Objects(nat.Node{Cluster: node.Cluster, Lease: node.Peers[0].Lease, Guard: guard})
	if err != nil {
		return err
	}
	want, err := datapath.Merge(fabric, rules)
	if err != nil {
		return err
	}
	have, err := k.Observe(context.Background(), datapath.AllKinds)
	if err != nil {
		return err
	}
	ops := datapath.Diff(want, have)
	var errs []error
	for i, err := range k.Apply(context.Background(), ops) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%v: %w", ops[i].New, err))
		}
	}
	const most = 3
	return errors.Join(errs[:min(len(errs), most)]...)
}
