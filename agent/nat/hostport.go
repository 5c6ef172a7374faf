package nat

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/agent/datapath"
)

// HostPort leads a port of the node to a port of a pod. A pod with two families
// has one for each.
type HostPort struct {
	HostIP   netip.Addr // an address of the node; zero or unspecified: every one
	Proto    string     // tcp, udp, sctp
	HostPort uint16
	Pod      netip.Addr
	PodPort  uint16
	Dev      string // host end of the pod's veth; with it, 127.0.0.1 leads there too
}

// String is the form that people know from container runtimes.
func (h HostPort) String() string {
	if h.any() {
		return fmt.Sprintf("%d/%s", h.HostPort, h.Proto)
	}
	return fmt.Sprintf("%v/%s", netip.AddrPortFrom(h.HostIP, h.HostPort), h.Proto)
}

func (h HostPort) any() bool { return !h.HostIP.IsValid() || h.HostIP.IsUnspecified() }

func (h HostPort) check() error {
	switch {
	case h.Proto != "tcp" && h.Proto != "udp" && h.Proto != "sctp":
		return fmt.Errorf("nat: hostPort %d of pod %v: protocol %q is none of tcp, udp, sctp", h.HostPort, h.Pod, h.Proto)
	case h.HostPort == 0 || h.PodPort == 0:
		return fmt.Errorf("nat: hostPort %v of pod %v: port 0 leads nowhere", h, h.Pod)
	case !h.Pod.IsValid() || h.Pod.Is4In6():
		return fmt.Errorf("nat: hostPort %v: %v is no address of a pod", h, h.Pod)
	case !h.any() && h.HostIP.Is4() != h.Pod.Is4():
		return fmt.Errorf("nat: hostPort %v: pod %v is of the other family", h, h.Pod)
	}
	return nil
}

// Names of the maps and sets of one family.
func (f family) anyMap() string  { return "hostport" + f.suffix }
func (f family) addrMap() string { return "hostportaddr" + f.suffix }
func (f family) hairpin() string { return "hairpin" + f.suffix }

// Objects lists what one hostPort adds to the kernel: the keys that CNI ADD
// waits for.
func (h HostPort) Objects() []datapath.Object {
	f := families[0]
	if !h.Pod.Is4() {
		f = families[1]
	}
	to := fmt.Sprintf("%v . %d", h.Pod, h.PodPort)
	e := datapath.Element{Set: f.anyMap(), Elem: fmt.Sprintf("%s . %d", h.Proto, h.HostPort), Data: to}
	if !h.any() {
		e = datapath.Element{Set: f.addrMap(), Elem: fmt.Sprintf("%v . %s . %d", h.HostIP, h.Proto, h.HostPort), Data: to}
	}
	out := []datapath.Object{e, datapath.Element{Set: f.hairpin(), Elem: fmt.Sprintf("%v . %v", h.Pod, h.Pod)}}
	if f.is4 && h.Dev != "" {
		out = append(out, datapath.Sysctl{Path: "net/ipv4/conf/" + h.Dev + "/route_localnet", Value: "1"})
	}
	return out
}

// hostPorts plans the maps of a family and the rules that look into them. They
// stand with no pod too, so that a pod adds elements only. An address that was
// named wins over every address.
func (p *plan) hostPorts(f family) {
	p.add(
		datapath.Set{Name: f.anyMap(), Type: "inet_proto . inet_service", Data: f.addr + " . inet_service"},
		datapath.Set{Name: f.addrMap(), Type: f.addr + " . inet_proto . inet_service", Data: f.addr + " . inet_service"},
		datapath.Set{Name: f.hairpin(), Type: f.addr + " . " + f.addr},
	)
	proto, local := is(datapath.NFProto, f.nfproto), is(datapath.FibDAddr, "local")
	for _, chain := range []string{datapath.ChainHostPort, datapath.ChainHostPortOut} {
		p.rules(
			chain, ruleIndex+f.first,
			rule("", with(f.dnatAddr, "@"+f.addrMap()), proto, local),
			rule("", with(f.dnat, "@"+f.anyMap()), proto, local),
		)
	}
	hairpin := []datapath.Rule{
		rule("a pod dials its own hostPort", do(datapath.Masquerade), is(f.pair, "@"+f.hairpin())),
	}
	if f.is4 {
		hairpin = append(hairpin,
			rule("the node's loopback dials a hostPort", do(datapath.Masquerade), is(datapath.OIfName, podLinks), is(f.saddr, "127.0.0.0/8")))
	}
	p.rules(datapath.ChainMasquerade, f.first, hairpin...)
}

// forwards fills the maps. Of two pods with one port the lower address has it.
func (p *plan) forwards() error {
	ports := slices.Clone(p.HostPorts)
	slices.SortFunc(ports, func(a, b HostPort) int {
		return cmp.Or(a.Pod.Compare(b.Pod), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.HostPort, b.HostPort),
			a.HostIP.Compare(b.HostIP), cmp.Compare(a.PodPort, b.PodPort), cmp.Compare(a.Dev, b.Dev))
	})
	var errs []error
	taken := map[datapath.Key]HostPort{}
	placed := map[datapath.Key]bool{}
	for _, h := range ports {
		if err := h.check(); err != nil {
			errs = append(errs, err)
			continue
		}
		objects := h.Objects()
		if first, ok := taken[objects[0].Key()]; ok {
			if first.Pod != h.Pod || first.PodPort != h.PodPort {
				errs = append(errs, fmt.Errorf("nat: hostPort %v is that of pod %v port %d; pod %v does not get it", h, first.Pod, first.PodPort, h.Pod))
			}
			continue
		}
		taken[objects[0].Key()] = h
		for _, o := range objects {
			if !placed[o.Key()] {
				placed[o.Key()] = true
				p.add(o)
			}
		}
	}
	return errors.Join(errs...)
}
