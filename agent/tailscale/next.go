package tailscale

import (
	"net/netip"
	"slices"
	"strings"
)

// Wish is what the fabric wants of the tailnet.
type Wish struct {
	Known   bool           // the fabric has said what it wants; before, the node is brought up and no more
	Carried bool           // packets of the fabric travel by the tailnet
	Routes  []netip.Prefix // the node's leases, to be advertised
	Ranges  []netip.Prefix // the cluster's, of which these are parts
	Peers   []Peer         // whose prefixes the tailnet is to carry
	Refused string         // why the node must stay out of it; empty: it need not
}

// Peer is another node of the fabric.
type Peer struct {
	Name   string
	Routes []netip.Prefix
}

// Record is what the agent did, so that it can be taken back. It is on disk before it
// is done, and no more once it is undone.
type Record struct {
	Up       bool           // the node was down or logged out
	Accepted bool           // it did not accept routes
	Routes   []netip.Prefix // these it did not advertise
	Restore  []string       // flags of `tailscale set`: what `tailscale up` reset
}

// Equal tells whether two say the same.
func (r Record) Equal(o Record) bool {
	return r.Up == o.Up && r.Accepted == o.Accepted && slices.Equal(r.Routes, o.Routes) && slices.Equal(r.Restore, o.Restore)
}

// Call is one call of the program.
type Call struct {
	Args   []string // empty: only the record changes
	Key    bool     // --auth-key=file:… is to be added
	Before Record   // what to have on disk first
	After  Record   // and when it succeeded
}

// timeout is how long `tailscale up` waits for the node to be up.
const timeout = "--timeout=30s"

// Next is the next call that leads to what is wished; false if there is none now.
func Next(s State, a Auth, w Wish, r Record) (Call, bool) {
	if w.Refused != "" {
		return Call{}, false
	}
	up := r
	up.Up = true
	switch s.Backend {
	case needsLogin:
		if !a.HasKey() || s.Prefs.unnamedExit() {
			return Call{}, false
		}
		if len(r.Restore) == 0 { // else an earlier try has reset them already
			up.Restore = s.Prefs.rest()
		}
		return Call{Args: join(s.Prefs, a), Key: true, Before: up, After: up}, true
	case stopped: // bare: anything more would have to name all settings
		return Call{Args: []string{"up"}, Before: up, After: up}, true
	case running:
		if c, more := settle(s.Prefs, a, w, r); more && w.Known {
			return c, true
		}
		if len(r.Restore) > 0 {
			return restore(r), true
		}
	}
	return Call{}, false
}

// join is how the node comes into the tailnet. What it was set to before stays; a
// node that never was in one takes no DNS from it.
func join(p Prefs, a Auth) []string {
	args := []string{"up", timeout}
	said := Auth{Args: slices.Clone(a.Args)}
	if a.ControlURL != "" {
		said.Args = append(said.Args, "--login-server="+a.ControlURL)
	}
	if p.ControlURL == "" {
		if !said.says("accept-dns") {
			said.Args = append(said.Args, "--accept-dns=false")
		}
		return append(args, said.Args...)
	}
	for _, m := range p.mentions() {
		name, _, _ := strings.Cut(strings.TrimPrefix(m, "--"), "=")
		if !said.says(name) {
			args = append(args, m)
		}
	}
	return append(args, said.Args...)
}

// settle sets what the fabric needs of a node that is up: routes accepted while it
// carries, and its prefixes among those advertised.
func settle(p Prefs, a Auth, w Wish, r Record) (Call, bool) {
	switch {
	case w.Carried && !p.RouteAll:
		to := r
		to.Accepted = true
		return Call{Args: []string{"set", "--accept-routes=true"}, Before: to, After: to}, true
	case !w.Carried && r.Accepted:
		to := r
		to.Accepted = false
		return Call{Args: onlyIf(p.RouteAll, "set", "--accept-routes=false"), Before: r, After: to}, true
	}
	ours := slices.Clone(a.Routes)
	if w.Carried {
		ours = append(ours, w.Routes...)
	}
	return advertise(p, sorted(ours), r)
}

// restore sets again what `tailscale up` reset.
func restore(r Record) Call {
	to := r
	to.Restore = nil
	return Call{Args: append([]string{"set"}, r.Restore...), Before: r, After: to}
}

// advertise makes ours those that the node advertises for us, beside what others do.
func advertise(p Prefs, ours []netip.Prefix, r Record) (Call, bool) {
	have := sorted(withoutExits(p.AdvertiseRoutes))
	want := sorted(append(less(have, r.Routes), ours...))
	added := less(ours, have)
	before, after := r, r
	before.Routes = sorted(append(slices.Clone(r.Routes), added...))
	after.Routes = less(before.Routes, less(before.Routes, ours))
	if slices.Equal(have, want) && after.Equal(r) {
		return Call{}, false
	}
	return Call{Args: onlyIf(!slices.Equal(have, want), "set", "--advertise-routes="+list(want)), Before: before, After: after}, true
}

// onlyIf is a call, or none.
func onlyIf(need bool, args ...string) []string {
	if need {
		return args
	}
	return nil
}

// Leave is the next call that takes back what the agent did; false if nothing is left.
func Leave(s State, r Record) (Call, bool) {
	to := r
	switch {
	case len(r.Routes) > 0:
		have := sorted(withoutExits(s.Prefs.AdvertiseRoutes))
		rest := less(have, r.Routes)
		to.Routes = nil
		return Call{Args: onlyIf(!slices.Equal(have, rest), "set", "--advertise-routes="+list(rest)), Before: r, After: to}, true
	case r.Accepted:
		to.Accepted = false
		return Call{Args: onlyIf(s.Prefs.RouteAll, "set", "--accept-routes=false"), Before: r, After: to}, true
	case len(r.Restore) > 0 && s.Backend == running:
		return restore(r), true
	case r.Up || len(r.Restore) > 0:
		to.Up, to.Restore = false, nil
		return Call{Args: onlyIf(r.Up && s.Backend != stopped && s.Backend != needsLogin, "down"), Before: r, After: to}, true
	}
	return Call{}, false
}
