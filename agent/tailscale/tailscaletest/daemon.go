package tailscaletest

import (
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Daemon is what tailscaled is.
type Daemon struct {
	Off     bool           // it does not run
	Backend string         // Running, NeedsLogin, Stopped, NeedsMachineAuth; empty: NeedsLogin
	Known   bool           // it was logged in once: prefs are kept
	NoTUN   bool           // userspace networking
	Vet     bool           // an administrator approves nodes by hand
	Keys    map[string]int // keys of the tailnet, with how often each may be used still
	Approve []netip.Prefix // autoApprovers
	Exit    string         // number of the exit that it uses, its address having been forgotten
	Addrs   []netip.Addr
	Tags    []string
	Peers   map[string][]netip.Prefix // what the tailnet carries to others
	Flags   map[string]string         // settings that are not at their default, by the flags of `up`
	Calls   []string                  // of the program, status and prefs excepted
}

// defaults are the settings of `up` and `set` on Linux.
var defaults = map[string]string{
	"accept-dns": "true", "accept-routes": "false", "advertise-connector": "false", "advertise-exit-node": "false",
	"advertise-routes": "", "advertise-tags": "", "exit-node": "", "exit-node-allow-lan-access": "false", "hostname": "",
	"login-server": "https://controlplane.tailscale.com", "netfilter-mode": "on", "operator": "", "report-posture": "false",
	"shields-up": "false", "snat-subnet-routes": "true", "ssh": "false", "stateful-filtering": "false",
}

// setOnly are the settings of `set` for which `up` has no flag: it resets them when it
// is called with any.
var setOnly = map[string]string{
	"auto-update": "", "relay-server-port": "", "relay-server-static-endpoints": "", "update-check": "true", "webclient": "false",
}

// Load reads a daemon.
func Load(path string) (*Daemon, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := &Daemon{}
	return d, json.Unmarshal(b, d)
}

// Save writes it, whole for whoever reads meanwhile.
func (d *Daemon) Save(path string) error {
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Get is a setting.
func (d *Daemon) Get(flag string) string {
	if v, ok := d.Flags[flag]; ok {
		return v
	}
	return standard(flag)
}

// standard is a setting that nobody made.
func standard(flag string) string {
	if v, ok := defaults[flag]; ok {
		return v
	}
	return setOnly[flag]
}

// Set makes one.
func (d *Daemon) Set(flag, value string) {
	if d.Flags == nil {
		d.Flags = map[string]string{}
	}
	d.Flags[flag] = value
	if standard(flag) == value {
		delete(d.Flags, flag)
	}
}

// Routes are those advertised, exits excepted.
func (d *Daemon) Routes() []netip.Prefix {
	return prefixes(d.Get("advertise-routes"))
}

// prefixes are those of a list.
func prefixes(list string) []netip.Prefix {
	var out []netip.Prefix
	for s := range strings.SplitSeq(list, ",") {
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// approved are those of them that the tailnet lets through.
func (d *Daemon) approved() []netip.Prefix {
	return slices.DeleteFunc(d.Routes(), func(p netip.Prefix) bool {
		return !slices.ContainsFunc(d.Approve, func(a netip.Prefix) bool { return a.Bits() <= p.Bits() && a.Contains(p.Addr()) })
	})
}

// backend is the state's word.
func (d *Daemon) backend() string {
	if d.Backend == "" {
		return "NeedsLogin"
	}
	return d.Backend
}

// status is `tailscale status --json`.
func (d *Daemon) status() any {
	hosts := func(as []netip.Addr) []netip.Prefix {
		var out []netip.Prefix
		for _, a := range as {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
		return out
	}
	up := d.backend() == "Running"
	name, _ := os.Hostname()
	self := map[string]any{"HostName": name, "UserID": 7}
	var addrs []netip.Addr
	peers := map[string]any{}
	if up {
		addrs = d.Addrs
		self["AllowedIPs"] = append(hosts(addrs), d.approved()...)
		if len(d.Tags) > 0 {
			self["Tags"] = d.Tags
		}
		for name, routes := range d.Peers {
			peers["nodekey:"+name] = map[string]any{"HostName": name, "UserID": 7, "AllowedIPs": append(hosts([]netip.Addr{netip.MustParseAddr("100.64.0.9")}), routes...)}
		}
	}
	return map[string]any{
		"Version": "1.100.0", "TUN": !d.NoTUN, "BackendState": d.backend(), "TailscaleIPs": addrs, "Self": self, "Peer": peers,
		"User": map[string]any{"7": map[string]any{"ID": 7, "LoginName": "ops@example.org"}}, "Health": []string{},
	}
}

// prefs is `tailscale debug prefs`.
func (d *Daemon) prefs() any {
	is := func(flag string) bool { return d.Get(flag) == "true" }
	url := d.Get("login-server")
	if !d.Known {
		url = ""
	}
	routes := d.Routes()
	if is("advertise-exit-node") {
		routes = append(routes, netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"))
	}
	var tags []string
	if t := d.Get("advertise-tags"); t != "" {
		tags = strings.Split(t, ",")
	}
	var apply, port any
	if v := d.Get("auto-update"); v != "" {
		apply = v == "true"
	}
	if v, err := strconv.Atoi(d.Get("relay-server-port")); err == nil {
		port = v
	}
	var endpoints []string
	if v := d.Get("relay-server-static-endpoints"); v != "" {
		endpoints = strings.Split(v, ",")
	}
	return map[string]any{
		"ControlURL": url, "RouteAll": is("accept-routes"), "CorpDNS": is("accept-dns"), "ExitNodeIP": d.Get("exit-node"),
		"ExitNodeAllowLANAccess": is("exit-node-allow-lan-access"), "RunSSH": is("ssh"), "ShieldsUp": is("shields-up"),
		"AdvertiseTags": tags, "Hostname": d.Get("hostname"), "AdvertiseRoutes": routes, "NoSNAT": !is("snat-subnet-routes"),
		"NoStatefulFiltering": !is("stateful-filtering"),
		"NetfilterMode":       map[string]int{"off": 0, "nodivert": 1, "on": 2}[d.Get("netfilter-mode")],
		"OperatorUser":        d.Get("operator"), "AppConnector": map[string]bool{"Advertise": is("advertise-connector")},
		"PostureChecking": is("report-posture"), "WantRunning": d.backend() == "Running",
		"ExitNodeID": d.Exit, "RunWebClient": is("webclient"), "RelayServerPort": port, "RelayServerStaticEndpoints": endpoints,
		"AutoUpdate": map[string]any{"Check": is("update-check"), "Apply": apply},
	}
}
