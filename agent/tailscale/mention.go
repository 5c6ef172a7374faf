package tailscale

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// tailscaleURL is the control server where none is named.
const tailscaleURL = "https://controlplane.tailscale.com"

// mentions are the flags that keep what tailscaled is set to. `tailscale up` refuses
// to run where one that is not at its default is left out: it would be reset.
func (p Prefs) mentions() []string {
	var out []string
	for _, f := range []struct{ name, is, unless string }{
		{"accept-dns", yes(p.CorpDNS), "true"},
		{"accept-routes", yes(p.RouteAll), "false"},
		{"advertise-connector", yes(p.AppConnector.Advertise), "false"},
		{"advertise-exit-node", yes(p.exit()), "false"},
		{"advertise-routes", list(withoutExits(p.AdvertiseRoutes)), ""},
		{"advertise-tags", strings.Join(p.AdvertiseTags, ","), ""},
		{"exit-node", p.ExitNodeIP, ""},
		{"exit-node-allow-lan-access", yes(p.ExitNodeAllowLANAccess), "false"},
		{"hostname", p.Hostname, ""},
		{"login-server", p.ControlURL, tailscaleURL},
		{"netfilter-mode", p.netfilter(), "on"},
		{"operator", p.OperatorUser, ""},
		{"report-posture", yes(p.PostureChecking), "false"},
		{"shields-up", yes(p.ShieldsUp), "false"},
		{"snat-subnet-routes", yes(!p.NoSNAT), "true"},
		{"ssh", yes(p.RunSSH), "false"},
		{"stateful-filtering", yes(p.NoStatefulFiltering != "true"), "false"},
	} {
		if f.is != f.unless {
			out = append(out, "--"+f.name+"="+f.is)
		}
	}
	return out
}

// exit tells whether the node offers to be one: it advertises a default route.
func (p Prefs) exit() bool {
	return slices.ContainsFunc(p.AdvertiseRoutes, func(r netip.Prefix) bool { return r.Bits() == 0 })
}

func (p Prefs) netfilter() string {
	switch p.NetfilterMode {
	case 0:
		return "off"
	case 1:
		return "nodivert"
	}
	return "on"
}

func yes(b bool) string { return strconv.FormatBool(b) }

// list is prefixes as the program takes them.
func list(in []netip.Prefix) string {
	var out []string
	for _, p := range in {
		out = append(out, p.String())
	}
	return strings.Join(out, ",")
}
