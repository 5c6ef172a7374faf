package host

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Watched are the settings that findings are about.
func Watched(n Node) []string {
	out := []string{"net/ipv4/conf/all/rp_filter"}
	for _, u := range n.Underlay {
		out = append(out, "net/ipv4/conf/"+u.Device+"/rp_filter")
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// settings tells of strict reverse path filtering on an uplink: the kernel takes
// the higher of the device's and all's (Documentation/networking/ip-sysctl.rst),
// and 2, loose, beats 1.
func settings(n Node, f Facts) []Finding {
	if n.ManageRPFilter {
		return nil // the loop sets it, and says so when it cannot
	}
	var out []Finding
	for _, u := range n.Underlay {
		path := "net/ipv4/conf/" + u.Device + "/rp_filter"
		if !Strict(n, f.Settings, u.Device) || slices.ContainsFunc(out, func(o Finding) bool { return o.Subject == "sysctl "+path }) {
			continue
		}
		out = append(out, Finding{
			Severity: Warning, Subject: "sysctl " + path,
			Cause:  fmt.Sprintf("strict reverse path filtering on uplink %s drops packets that come by another way than they would go", u.Device),
			Remedy: "weft-agent --manage-rp-filter, or: sysctl -w " + strings.ReplaceAll(path, "/", ".") + "=2",
		})
	}
	return out
}

// Strict tells whether the kernel filters strictly on a device.
func Strict(_ Node, settings []Setting, dev string) bool {
	of := func(dev string) string {
		for _, s := range settings {
			if s.Path == "net/ipv4/conf/"+dev+"/rp_filter" {
				return s.Value
			}
		}
		return ""
	}
	own, all := of(dev), of("all")
	return max(own, all) == "1"
}

// guard tells of traffic that is dropped because this host is no router. Whoever
// meant it to be one learns it here.
func guard(_ Node, f Facts) []Finding {
	const recent = time.Minute
	if f.Guard.Last.IsZero() || f.Guard.Now.Sub(f.Guard.Last) > recent {
		return nil
	}
	return []Finding{{
		Severity: Warning, Subject: "forwarding",
		Cause:  fmt.Sprintf("traffic of others was to be forwarded and is dropped, because forwarding was off before weft (table inet weft, chain notrouter, %d packets)", f.Guard.Drops),
		Remedy: "if this host is a router: weft-agent --forwarding-guard off",
	}}
}
