package underlay

import (
	"fmt"
	"net/netip"
	"path"
	"strings"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
)

// others are devices of other network stacks, and of ours.
var others = []string{
	"lo", "docker*", "br-*", "cni*", "flannel*", "cali*", "cilium*", "lxc*", "kube-*",
	"nodelocaldns", "virbr*", "tailscale*", "weft*", "wf*",
}

// foreign tells whether a device is never chosen unless the operator names it.
func foreign(link string) bool {
	for _, pattern := range others {
		if ok, _ := path.Match(pattern, link); ok { // the patterns are constants
			return true
		}
	}
	return false
}

// ours tells whether a device is weft's own: a fabric cannot ride on itself.
func ours(link string) bool {
	return strings.HasPrefix(link, "weft") || strings.HasPrefix(link, datapath.PodPrefix)
}

// view is a host with its links at hand.
type view struct {
	datapath.Host
	links map[string]datapath.HostLink
}

func newView(h datapath.Host) view {
	v := view{Host: h, links: map[string]datapath.HostLink{}}
	for _, l := range h.Links {
		v.links[l.Name] = l
	}
	return v
}

func (v view) link(name string) datapath.HostLink { return v.links[name] }

func (v view) underlay(a datapath.HostAddr) intent.Underlay {
	return intent.Underlay{Addr: a.Prefix, Device: a.Link, MTU: v.link(a.Link).MTU}
}

// best is the address of a link that a node would be known by: a primary one,
// with the length of its subnet. An address that is a subnet by itself (/32,
// /128) is a virtual IP beside another one; alone on its link it is how some
// clouds and DHCPv6 give a node its address.
func (v view) best(link string, is4 bool) (datapath.HostAddr, bool) {
	var found []datapath.HostAddr
	for _, a := range v.Addrs {
		if a.Link == link && a.Prefix.Addr().Is4() == is4 && usable(a) && !a.Tentative {
			found = append(found, a)
		}
	}
	for _, ok := range []func(datapath.HostAddr) bool{
		func(a datapath.HostAddr) bool { return !host(a.Prefix) && !a.Secondary },
		func(a datapath.HostAddr) bool { return !host(a.Prefix) },
		func(datapath.HostAddr) bool { return len(found) == 1 },
	} {
		for _, a := range found {
			if ok(a) {
				return a, true
			}
		}
	}
	return datapath.HostAddr{}, false
}

// still finds an address that was chosen before. It may be tentative: a link
// that was down for a moment detects duplicates again.
func (v view) still(u intent.Underlay) (datapath.HostAddr, bool) {
	for _, a := range v.Addrs {
		if a.Link == u.Device && a.Prefix.Addr() == u.Addr.Addr() && usable(a) {
			return a, true
		}
	}
	return datapath.HostAddr{}, false
}

// defaults are the devices of a family's default routes, the best first.
func (v view) defaults(is4 bool) []string {
	var out []string
	for _, d := range v.Defaults {
		if d.Is4 == is4 {
			out = append(out, d.Link)
		}
	}
	return out
}

// only is the one device that could be meant on a node without default route.
func (v view) only(is4 bool) []string {
	var out []string
	for _, l := range v.Links {
		if _, ok := v.best(l.Name, is4); ok && l.Up && !foreign(l.Name) {
			out = append(out, l.Name)
		}
	}
	if len(out) != 1 {
		return nil
	}
	return out
}

func usable(a datapath.HostAddr) bool {
	ip := a.Prefix.Addr()
	return !a.Temporary && !a.Deprecated && ip.IsGlobalUnicast() && !ip.IsLinkLocalUnicast()
}

func host(p netip.Prefix) bool { return p.Bits() == p.Addr().BitLen() }

// inventory names what there is, for a person who looks for what is missing.
func (v view) inventory() string {
	const most = 8
	var words []string
	for _, a := range v.Addrs {
		ip := a.Prefix.Addr()
		if ip.IsLoopback() || ip.IsLinkLocalUnicast() || ours(a.Link) {
			continue
		}
		words = append(words, fmt.Sprintf("%s %v%s", a.Link, a.Prefix, v.blemish(a)))
	}
	switch {
	case len(words) == 0:
		return "no addresses at all"
	case len(words) > most:
		words = append(words[:most], fmt.Sprintf("and %d more", len(words)-most))
	}
	return strings.Join(words, ", ")
}

// blemish says why an address is not taken by itself.
func (v view) blemish(a datapath.HostAddr) string {
	switch {
	case a.Temporary:
		return " (temporary)"
	case a.Deprecated:
		return " (deprecated)"
	case a.Tentative:
		return " (tentative)"
	case !v.link(a.Link).Up:
		return " (down)"
	case foreign(a.Link):
		return " (another stack's device)"
	}
	return ""
}
