package pod

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/nat"
	"github.com/weft-net/weft/proto/intent"
)

// Objects lists the host's ends of all attachments, as the kernel should have
// them. It is pure from records and the node's facts. It is for the loop's plan:
// Screen goes by the last call.
func (k *Keeper) Objects() []datapath.Object {
	n, _ := k.Node()
	var out []datapath.Object
	planned := map[string]bool{}
	for _, e := range k.all() {
		if e.attached {
			out = append(out, e.objects(n)...)
			planned[e.HostDev] = true
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.planned = planned
	return out
}

// Screen takes out of what the loop saw in the kernel the host's ends that were
// not among the last Objects. Their ADD or DEL is under way: a loop that planned
// before an ADD and looked after it would remove the new device. What belongs to
// no attachment, Heal removes. All on a device whose record is not understood is
// left as it is as well: a pod may have it.
func (k *Keeper) Screen(seen datapath.State) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, o := range seen {
		if l, ok := o.(datapath.Link); ok && l.Type == datapath.LinkVeth && !k.planned[l.Name] {
			delete(seen, key)
		}
		if _, unreadable := k.asides[device(o)]; unreadable {
			delete(seen, key)
		}
	}
}

// device is what an object of the forwarding plane is on; none for other objects.
func device(o datapath.Object) string {
	switch o := o.(type) {
	case datapath.Link:
		return o.Name
	case datapath.Addr:
		return o.Dev
	case datapath.Route:
		return o.Dev
	case datapath.Neigh:
		return o.Dev
	}
	return ""
}

// link is the host's end itself.
func (r Record) link() datapath.Object {
	return datapath.Link{Name: r.HostDev, Type: datapath.LinkVeth, MTU: r.MTU, MAC: mac(r.HostMAC)}
}

// objects is the host's end of one attachment.
func (r Record) objects(n Node) []datapath.Object {
	out := []datapath.Object{
		r.link(),
		// A pod's packets come in here and its answers may leave elsewhere; strict
		// filtering also breaks the fabric address, which lives on another device.
		datapath.Sysctl{Path: "net/ipv4/conf/" + r.HostDev + "/rp_filter", Value: "2"},
	}
	if r.has(false) {
		out = append(out,
			datapath.Sysctl{Path: "net/ipv6/conf/" + r.HostDev + "/accept_ra", Value: "0"},
			datapath.Addr{Dev: r.HostDev, Prefix: netip.PrefixFrom(gateway6, 64)})
	}
	for _, a := range r.Addrs {
		route := datapath.Route{Dst: netip.PrefixFrom(a, a.BitLen()), Dev: r.HostDev}
		route.Src, _ = n.fabric(a.Is4())
		out = append(out, route)
	}
	return out
}

// keys are the kernel objects that an endpoint needs before it works.
func (k *Keeper) keys(r Record) []datapath.Key {
	n, _ := k.Node()
	var out []datapath.Key
	for _, o := range r.objects(n) {
		out = append(out, o.Key())
	}
	return append(out, r.portKeys()...)
}

// portKeys are the kernel objects that do not go with an endpoint's device.
func (r Record) portKeys() []datapath.Key {
	var out []datapath.Key
	for _, h := range r.hostPorts() {
		for _, o := range h.Objects() {
			out = append(out, o.Key())
		}
	}
	return out
}

// HostPorts lists the ports of the node that lead to pods, for package nat.
func (k *Keeper) HostPorts() []nat.HostPort {
	var out []nat.HostPort
	for _, e := range k.all() {
		if e.attached {
			out = append(out, e.hostPorts()...)
		}
	}
	return out
}

// hostPorts is one port of the node for every address of the pod that it can
// lead to.
func (r Record) hostPorts() []nat.HostPort {
	var out []nat.HostPort
	for _, h := range r.HostPorts {
		for _, a := range r.Addrs {
			if !h.HostIP.IsValid() || h.HostIP.Is4() == a.Is4() {
				out = append(out, nat.HostPort{
					HostIP: h.HostIP, Proto: h.Protocol, HostPort: h.HostPort, Pod: a, PodPort: h.ContainerPort, Dev: r.HostDev,
				})
			}
		}
	}
	return out
}

// Endpoint is an attachment as others know it.
type Endpoint struct {
	ContainerID string
	IfName      string
	Namespace   string
	Pod         string
	Addresses   []netip.Addr
	Labels      map[string]string
	Device      string // the host's end of the veth
	MAC         intent.MAC
	Created     time.Time
}

// Endpoints lists the attachments whose ADD succeeded, in order.
func (k *Keeper) Endpoints() []Endpoint {
	var out []Endpoint
	for _, e := range k.all() {
		if e.phase != ready {
			continue
		}
		out = append(out, Endpoint{
			ContainerID: e.ContainerID, IfName: e.IfName, Namespace: e.Namespace, Pod: e.Pod,
			Addresses: slices.Clone(e.Addrs), Labels: maps.Clone(e.Labels),
			Device: e.HostDev, MAC: mac(e.MAC), Created: e.Created,
		})
	}
	return out
}

// Problems lists what is wrong with records, in order.
func (k *Keeper) Problems() []intent.Problem {
	families, out := k.families(), k.strays()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, dev := range slices.Sorted(maps.Keys(k.asides)) {
		out = append(out, k.asides[dev].problem(families))
	}
	if k.writeErr != nil {
		out = append(out, intent.Problem{Subject: k.Dir, Cause: k.writeErr.Error(), Remedy: "make room on its disk; no pod can be added until then"})
	}
	return out
}
