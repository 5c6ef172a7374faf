package tailscale

import (
	"fmt"
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
	return settings([]setting{
		{"accept-dns", yes(p.CorpDNS), "true"},
		{"accept-routes", yes(p.RouteAll), "false"},
		{"advertise-connector", yes(p.AppConnector.Advertise), "false"},
		{"advertise-exit-node", yes(p.exit()), "false"},
		{"advertise-routes", list(withoutExits(p.AdvertiseRoutes)), ""},
		{"advertise-tags", strings.Join(p.AdvertiseTags, ","), ""},
		{"exit-node", p.exitNode(), ""},
		{"exit-node-allow-lan-access", yes(p.ExitNodeAllowLANAccess), "false"},
		{"hostname", p.Hostname, ""},
		{"login-server", p.ControlURL, tailscaleURL},
		{"netfilter-mode", p.netfilter(), "on"},
		{"operator", p.OperatorUser, ""},
		{"report-posture", yes(p.PostureChecking), "false"},
		{"shields-up", yes(p.ShieldsUp), "false"},
		{"snat-subnet-routes", yes(!p.NoSNAT), "true"},
		{"ssh", yes(p.RunSSH), "false"},
		{"stateful-filtering", yes(p.NoStatefulFiltering == nil || !*p.NoStatefulFiltering), "false"},
	})
}

// setting is a flag with its value, and the one that needs no flag.
type setting struct{ name, is, unless string }

// settings are flags that are not at their default.
func settings(all []setting) []string {
	var out []string
	for _, f := range all {
		if f.is != f.unless {
			out = append(out, "--"+f.name+"="+f.is)
		}
	}
	return out
}

// rest are the flags of `tailscale set` that keep what `tailscale up` has no flag for:
// it resets that without a word, whenever it is called with any flag.
func (p Prefs) rest() []string {
	apply, port := "", ""
	if p.AutoUpdate.Apply != nil {
		apply = yes(*p.AutoUpdate.Apply)
	}
	if p.RelayServerPort != nil {
		port = strconv.Itoa(int(*p.RelayServerPort))
	}
	return settings([]setting{
		{"auto-update", apply, ""},
		{"relay-server-port", port, ""},
		{"relay-server-static-endpoints", list(p.RelayServerStaticEndpoints), ""},
		{"update-check", yes(p.AutoUpdate.Check), "true"},
		{"webclient", yes(p.RunWebClient), "false"},
	})
}

// exitNode is the exit that the node uses, as a flag takes it.
func (p Prefs) exitNode() string {
	if p.AutoExitNode != "" {
		return "auto:" + p.AutoExitNode
	}
	return p.ExitNodeIP
}

// unnamedExit tells whether the node uses an exit that no flag can name while it is
// logged out: to join would lose it, and send by its own way what it was not to.
func (p Prefs) unnamedExit() bool { return p.ExitNodeID != "" && p.exitNode() == "" }

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

// list is prefixes, or endpoints, as the program takes them.
func list[T netip.Prefix | netip.AddrPort](in []T) string {
	var out []string
	for _, p := range in {
		out = append(out, fmt.Sprint(p))
	}
	return strings.Join(out, ",")
}
