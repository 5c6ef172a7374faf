package tailscale

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// subject of all that is said about the tailnet.
const subject = "tailscale"

// expiresSoon is when a key's end is worth a word.
const expiresSoon = 7 * 24 * time.Hour

// Problems words what a person must do about the tailnet.
func Problems(s State, a Auth, w Wish, now time.Time) []intent.Problem {
	say := func(remedy, cause string, args ...any) []intent.Problem {
		return []intent.Problem{{Subject: subject, Cause: fmt.Sprintf(cause, args...), Remedy: remedy}}
	}
	switch {
	case w.Refused != "" && s.Backend == running:
		return say("take other ranges for the fabric; or leave --vpn-auth out, and: tailscale down", "this node is in a tailnet, and must not be: %s", w.Refused)
	case w.Refused != "":
		return say("take other ranges for the fabric, or leave --vpn-auth out", "this node stays out of the tailnet: %s", w.Refused)
	case s.Backend == needsLogin && !a.HasKey():
		return say("tailscale up --accept-dns=false"+server(a)+", and follow the link; or give a joinKey to --vpn-auth-file",
			"this node is logged out of its tailnet, or its key has expired, and --vpn-auth holds no joinKey")
	case s.Backend == needsLogin && s.Prefs.unnamedExit():
		return say("tailscale up --exit-node=ADDRESS --auth-key=…, by hand; or give the exit up: tailscale set --exit-node=",
			"this node is logged out of its tailnet, and used an exit node there (%.40s), which a login by its key would lose", s.Prefs.ExitNodeID)
	case s.Backend == needsMachine:
		return say("approve it in the admin console (Machines), or join with a key that is pre-approved",
			"the tailnet waits for an administrator to approve this node, %s", s.Name)
	case s.Backend != running:
		return say("it is tried again; look: tailscale status", "tailscaled is not up: %s", s.Backend)
	case !s.TUN:
		return say("start tailscaled without --tun=userspace-networking", "tailscaled has no device: no packet of this node goes through it")
	}
	return runningProblems(s, a, w, now)
}

// runningProblems are those of a node that is up.
func runningProblems(s State, a Auth, w Wish, now time.Time) []intent.Problem {
	var out []intent.Problem
	say := func(remedy, cause string, args ...any) {
		out = append(out, intent.Problem{Subject: subject, Cause: fmt.Sprintf(cause, args...), Remedy: remedy})
	}
	if a.ControlURL != "" && !sameServer(a.ControlURL, s.Prefs.ControlURL) {
		say("tailscale logout, and the agent logs in there; or correct controlServerURL",
			"this node is logged in at %s, and controlServerURL is %s", s.Prefs.ControlURL, a.ControlURL)
	}
	if left := s.Expiry.Sub(now); !s.Expiry.IsZero() && left < expiresSoon {
		say("disable key expiry for it in the admin console (Machines), or: tailscale up --force-reauth",
			"the key of this node, %s, ends at %s: then it is logged out", s.Name, s.Expiry.UTC().Format(time.RFC3339))
	}
	if !w.Carried {
		return out
	}
	if s.Prefs.ShieldsUp {
		say("tailscale set --shields-up=false", "shields are up: nothing from other nodes reaches the pods here")
	}
	if no := s.Prefs.NoStatefulFiltering; no != nil && !*no {
		say("tailscale set --stateful-filtering=false", "stateful filtering is on: other nodes' pods cannot open connections to the pods here")
	}
	return append(out, routeProblems(s, w)...)
}

// routeProblems are prefixes that the tailnet does not let through. Of its own a node
// hears from Tailscale's control server only: Headscale tells approvals to the peers
// alone until the node asks anew (seen of 0.29), and the agents there say so.
func routeProblems(s State, w Wish) []intent.Problem {
	var out []intent.Problem
	if lacks := Lacking(s.Approved, w.Routes); len(lacks) > 0 && sameServer(s.Prefs.ControlURL, tailscaleURL) {
		out = append(out, intent.Problem{
			Subject: subject, Cause: fmt.Sprintf("%s is advertised, and the tailnet has not approved it: no other node reaches the pods here", list(lacks)),
			Remedy: "into the tailnet's policy file: " + AutoApprovers(w.Ranges, s.Who) + "; or approve the routes of " + s.Name + " (Machines, Edit route settings)",
		})
	}
	const most = 3 // names; a tailnet that is cut off lacks all of them
	var names []string
	more := 0
	for _, p := range w.Peers {
		switch lacks := Lacking(s.Carried, p.Routes); {
		case len(lacks) == 0:
		case len(names) == most:
			more++
		default:
			names = append(names, fmt.Sprintf("%s of %s", list(lacks), p.Name))
		}
	}
	if len(names) == 0 {
		return out
	}
	if more > 0 {
		names = append(names, fmt.Sprintf("and of %d more nodes", more))
	}
	return append(out, intent.Problem{
		Subject: subject, Cause: fmt.Sprintf("the tailnet carries no %s: not approved there, or not advertised, and the pods there are not reached from here", strings.Join(names, ", ")),
		Remedy: "into the tailnet's policy file: " + AutoApprovers(w.Ranges, s.Who) + "; or approve what these nodes advertise (Headscale: headscale nodes approve-routes); or start their agents",
	})
}

// Way words how the tailnet carries prefixes of another node, all of ranges; false if
// it does not carry them all.
func (s State) Way(prefixes, ranges []netip.Prefix) (carried bool, why string) {
	if lacks := Lacking(s.Carried, prefixes); len(lacks) > 0 {
		return false, fmt.Sprintf("the tailnet carries no %s: not approved there, or not advertised; into its policy file: %s", list(lacks), AutoApprovers(ranges, s.Who))
	}
	for _, m := range s.Members {
		switch {
		case len(Lacking(m.Routes, prefixes)) > 0:
		case m.Addr != "":
			return true, fmt.Sprintf("carried, directly to %.60s", m.Addr)
		case m.Relay != "":
			return true, fmt.Sprintf("carried, over relay %.30s while no direct way is in use", m.Relay)
		}
	}
	return true, "carried"
}

// Lacking are the prefixes that no other of a list covers.
func Lacking(list, prefixes []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range prefixes {
		if !covered(list, p) {
			out = append(out, p)
		}
	}
	return out
}

// AutoApprovers is what to paste into a tailnet's policy file, so that nodes of who
// (tags, or a login name) may advertise prefixes of ranges.
func AutoApprovers(ranges []netip.Prefix, who []string) string {
	if len(who) == 0 {
		who = []string{"autogroup:admin"}
	}
	routes := map[string][]string{}
	for _, r := range ranges {
		routes[r.String()] = who
	}
	b, err := json.Marshal(map[string]map[string][]string{"routes": routes})
	if err != nil {
		return "" // texts alone: it cannot be
	}
	return `"autoApprovers": ` + string(b)
}

// server is the flag that names the control server.
func server(a Auth) string {
	if a.ControlURL == "" {
		return ""
	}
	return " --login-server=" + a.ControlURL
}

// sameServer tells whether two URLs name one control server. Tailscale's own has two.
func sameServer(a, b string) bool {
	plain := func(s string) string {
		if s = strings.TrimSuffix(s, "/"); s == "https://login.tailscale.com" {
			return tailscaleURL
		}
		return s
	}
	return plain(a) == plain(b)
}
