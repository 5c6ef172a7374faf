package underlay

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
)

// Config is what the operator asked for, and what was chosen last.
type Config struct {
	NodeIPs    []netip.Addr // --node-ip: these addresses and no others, in this order
	Iface      string       // --iface: a device's name, or an address on it
	IfaceRegex string       // --iface-regex: matches a device's name or address as text
	CanReach   netip.Addr   // --iface-can-reach: named in problems only
	// ReachDevice is the device by which the kernel routes to CanReach. The
	// caller looks it up; empty while there is no route.
	ReachDevice string

	Families []bool            // in order of preference, true is IPv4; none: IPv4, IPv6
	Last     []intent.Underlay // what Choose gave before
}

// Error is why an address is missing, or why one is kept that the kernel no
// longer has. It comes beside the addresses, not instead of them.
type Error []intent.Problem

// Error implements error.
func (e Error) Error() string {
	var b strings.Builder
	b.WriteString("underlay: ")
	for i, p := range e {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.Cause)
	}
	return b.String()
}

// Choose gives the node's underlay addresses in order of preference. A non-nil
// error is an Error, and the addresses beside it are still to be used.
func Choose(host datapath.Host, want Config) ([]intent.Underlay, error) {
	c := &choice{Config: want, view: newView(host)}
	out := c.all()
	if len(c.problems) > 0 {
		return out, c.problems
	}
	return out, nil
}

// choice is one call of Choose.
type choice struct {
	Config
	view
	problems Error
}

func (c *choice) problem(subject, remedy, cause string, args ...any) {
	c.problems = append(c.problems, intent.Problem{Subject: subject, Cause: fmt.Sprintf(cause, args...), Remedy: remedy})
}

func (c *choice) all() []intent.Underlay {
	if ip, err := netip.ParseAddr(c.Iface); err == nil && len(c.NodeIPs) == 0 {
		return c.named("--iface", []netip.Addr{ip})
	}
	if len(c.NodeIPs) > 0 {
		return c.named("--node-ip", c.NodeIPs)
	}
	eligible := c.eligible()
	families := c.Families
	if len(families) == 0 {
		families = []bool{true, false}
	}
	var out []intent.Underlay
	for _, is4 := range families {
		if u, ok := c.family(is4, eligible); ok {
			out = append(out, u)
		}
	}
	if len(out) > 0 {
		return out
	}
	if len(c.problems) == 0 {
		c.problem(c.subject(), "give the device an address, or name one with --node-ip or --iface",
			"no address for the fabric: %s; there are %s", c.sought(), c.inventory())
	}
	return c.Last
}

// named takes addresses that the operator listed, wherever they are.
func (c *choice) named(flag string, ips []netip.Addr) []intent.Underlay {
	var out []intent.Underlay
	for _, ip := range ips {
		ip = ip.Unmap()
		i := slices.IndexFunc(c.Addrs, func(a datapath.HostAddr) bool { return a.Prefix.Addr() == ip })
		if i >= 0 && !c.Addrs[i].Tentative {
			out = append(out, c.underlay(c.Addrs[i]))
			continue
		}
		why := "is on no device"
		if i >= 0 {
			why = "is tentative on " + c.Addrs[i].Link + " (duplicate address detection)"
		}
		remedy := "add the address to a device, or change " + flag
		if last, ok := c.last(ip); ok {
			out = append(out, last)
			why += ", kept as it was"
			remedy = fmt.Sprintf("change %s, or: ip addr replace %v dev %s", flag, last.Addr, last.Device)
		}
		c.problem(fmt.Sprintf("%s %v", flag, ip), remedy, "%v %s; there are %s", ip, why, c.inventory())
	}
	return out
}

// family chooses one address of a family from devices that may carry it.
func (c *choice) family(is4 bool, eligible func(link string) bool) (intent.Underlay, bool) {
	last, had := c.lastOf(is4)
	if had {
		if a, ok := c.still(last); ok && eligible(a.Link) {
			return c.underlay(a), true
		}
	}
	if a, ok := c.pick(is4, last.Device, eligible); ok {
		return c.underlay(a), true
	}
	// The addresses of a link that is down or away come back with it.
	if had && !c.link(last.Device).Up {
		c.problem(last.Device, "name another device with --iface, or: ip link set "+last.Device+" up",
			"%v was chosen on %s, which is down or gone; kept as it was", last.Addr, last.Device)
		return last, true
	}
	return intent.Underlay{}, false
}

// pick takes the best address: on the device chosen last, on that of a default
// route when the operator named nothing, else on the first eligible one.
func (c *choice) pick(is4 bool, lastDevice string, eligible func(string) bool) (datapath.HostAddr, bool) {
	var links []string
	if lastDevice != "" {
		links = append(links, lastDevice)
	}
	if c.sought() == byDefault {
		found := c.defaults(is4)
		// A guess does not move a node whose link may come back.
		if len(found) == 0 && (lastDevice == "" || c.link(lastDevice).Up) {
			found = c.only(is4)
		}
		links = append(links, found...)
	} else {
		for _, l := range c.Links {
			links = append(links, l.Name)
		}
	}
	for _, name := range links {
		if c.link(name).Up && eligible(name) {
			if a, ok := c.best(name, is4); ok {
				return a, true
			}
		}
	}
	return datapath.HostAddr{}, false
}

const byDefault = "a device with a default route was looked for"

// sought says in words what eligible looks for.
func (c *choice) sought() string {
	switch {
	case c.Iface != "":
		return "device " + c.Iface + " was looked for"
	case c.IfaceRegex != "":
		return fmt.Sprintf("a device that matches %q was looked for", c.IfaceRegex)
	case c.CanReach.IsValid():
		return fmt.Sprintf("the device towards %v was looked for", c.CanReach)
	}
	return byDefault
}

func (c *choice) subject() string {
	switch {
	case c.Iface != "":
		return "--iface " + c.Iface
	case c.IfaceRegex != "":
		return "--iface-regex " + c.IfaceRegex
	case c.CanReach.IsValid():
		return fmt.Sprintf("--iface-can-reach %v", c.CanReach)
	}
	return "uplink"
}

// eligible is the test that the operator's choice of a device makes.
func (c *choice) eligible() func(link string) bool {
	switch {
	case c.Iface != "":
		return func(link string) bool { return link == c.Iface && !ours(link) }
	case c.IfaceRegex != "":
		re, err := regexp.Compile(c.IfaceRegex)
		if err != nil {
			c.problem(c.subject(), "write it in Go's RE2 syntax, as in ^eth[0-9]+$", "the regular expression cannot be read: %v", err)
			return func(string) bool { return false }
		}
		return func(link string) bool { return !foreign(link) && c.matches(re, link) }
	case c.CanReach.IsValid():
		return func(link string) bool { return link == c.ReachDevice && !ours(link) }
	}
	return func(link string) bool { return !foreign(link) }
}

func (c *choice) matches(re *regexp.Regexp, link string) bool {
	return re.MatchString(link) || slices.ContainsFunc(c.Addrs, func(a datapath.HostAddr) bool {
		return a.Link == link && re.MatchString(a.Prefix.Addr().String())
	})
}

func (c *choice) last(ip netip.Addr) (intent.Underlay, bool) {
	for _, u := range c.Last {
		if u.Addr.Addr() == ip {
			return u, true
		}
	}
	return intent.Underlay{}, false
}

func (c *choice) lastOf(is4 bool) (intent.Underlay, bool) {
	return intent.Peer{Underlay: c.Last}.UnderlayOf(is4)
}
