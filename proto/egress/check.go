package egress

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Target is what is to be dialled.
type Target struct {
	Host string     // the name that was asked for; empty: an address was
	Addr netip.Addr // the zero Addr: Host is not resolved yet
	Port uint16
	Own  bool // the kernel of the node that would dial says that Addr is its own
}

// String is the target as people write it.
func (t Target) String() string {
	port := strconv.Itoa(int(t.Port))
	switch {
	case !t.Addr.IsValid():
		return t.Host + ":" + port
	case t.Host != "":
		return t.Host + " (" + netip.AddrPortFrom(t.Addr, t.Port).String() + ")"
	}
	return netip.AddrPortFrom(t.Addr, t.Port).String()
}

// Verdict is what the rules say of a target.
type Verdict struct {
	Allow  bool
	Rule   string // that decided: lease, metadata, node-file, EgressPolicy/shop
	Reason string
	Remedy string // empty where it is allowed
}

// Class is the rule without a name in it, of a small set: for counting.
func (v Verdict) Class() string {
	class, _, _ := strings.Cut(v.Rule, "/")
	return class
}

// Text is a refusal on a line: the rule, the reason, what to do.
func (v Verdict) Text() string {
	if v.Remedy == "" {
		return v.Rule + ": " + v.Reason
	}
	return v.Rule + ": " + v.Reason + "; " + v.Remedy
}

// classes are all that Class gives.
var classes = []string{
	"malformed", "node-file", "EgressPolicy", "name", "service", "host-port", "lease", "announced", "default", "not-ready",
	"metadata", "unspecified", "loopback", "link-local", "multicast", "reserved",
}

// CutRule takes the rule off a refusal's text. It takes none but those that there
// are: who says it may be anybody, and rules are counted.
func CutRule(text string) (rule, rest string, ok bool) {
	rule, rest, found := strings.Cut(text, ": ")
	class := Verdict{Rule: rule}.Class()
	if !found || !slices.Contains(classes, class) {
		return "", text, false
	}
	if name, named := strings.CutPrefix(rule, class+"/"); named != (class == "EgressPolicy") || named && ValidName(name) != nil {
		return "", text, false
	}
	return rule, rest, true
}

// Bound is what the node's own file says: whatever a server says, no more than this
// is dialled. The zero value bounds nothing, but names no address either.
type Bound struct {
	Closed  string // why nothing at all is dialled; empty: it is not so
	Limited bool   // no more than Allow is
	Allow   []Rule
	Deny    []Rule
}

// Rules is all that decides what may be dialled through one node.
type Rules struct {
	Facts    Facts
	Policies []Policy // of this node: see Of
	Bound    Bound
	// Ahead says that this is the server, which does not know the node's file: what
	// needs its word passes, and the node decides.
	Ahead bool
	// Server is the name of the server that dials from its own machine, instead of the
	// node; empty: the node dials. No node judges after it, and no file bounds it.
	Server string
}

const (
	explain  = "; weft explain egresspolicy"
	nameNode = "say which node is to dial it: weft dial NODE HOST:PORT, or the header Weft-Node on CONNECT"
)

// Check decides. A target that is a name still can be refused by a rule that names
// it; what passes is checked again with each address behind it.
func (r Rules) Check(by Asker, t Target) Verdict {
	if why := t.malformed(); why != "" {
		return Verdict{Rule: "malformed", Reason: why, Remedy: "ask for a name or an address with a port"}
	}
	if r.Bound.Closed != "" {
		return r.file(fmt.Sprintf("node %s dials nothing: %s", r.Facts.Node, r.Bound.Closed))
	}
	if i := match(r.Bound.Deny, t); i >= 0 {
		return r.file(fmt.Sprintf("deny[%d] (%v) of node %s's file refuses %v", i, r.Bound.Deny[i], r.Facts.Node, t))
	}
	mine := make([]Policy, 0, len(r.Policies))
	for _, p := range r.Policies {
		if !p.asks(by) {
			continue
		}
		if i := match(p.Deny, t); i >= 0 {
			return Verdict{
				Rule:   "EgressPolicy/" + p.Name,
				Reason: fmt.Sprintf("deny[%d] (%v) refuses %v to %v", i, p.Deny[i], t, by),
				Remedy: "change the policy: weft edit egresspolicy " + p.Name,
			}
		}
		mine = append(mine, p)
	}
	if !t.Addr.IsValid() {
		return Verdict{Allow: true, Rule: "name", Reason: "the node resolves " + t.Host + " and checks the address"}
	}
	v := r.allowed(by, t, mine)
	if v.Allow && !r.Bound.permits(t) {
		return r.file(fmt.Sprintf("nothing under allow in node %s's file names %v", r.Facts.Node, t))
	}
	return v
}

// allowed is what facts and policies allow, of which none denies the target.
func (r Rules) allowed(by Asker, t Target, mine []Policy) Verdict {
	if rule, what, is := Special(t.Addr); is {
		return r.special(by, t, mine, rule, what)
	}
	only := slices.IndexFunc(mine, func(p Policy) bool { return p.Only })
	facts := r.Facts
	if r.Server != "" {
		facts = facts.vouched()
	}
	rule, why, ok := facts.granted(t)
	if ok && only < 0 {
		return Verdict{Allow: true, Rule: rule, Reason: fmt.Sprintf("%v is %s of node %s", t, why, r.Facts.Node)}
	}
	own := t.Own || r.Facts.own(t.Addr)
	for _, p := range mine {
		opens := func(a Rule) bool { return a.matches(t) && (!own || a.Host == "") }
		if i := slices.IndexFunc(p.Allow, opens); i >= 0 {
			return Verdict{Allow: true, Rule: "EgressPolicy/" + p.Name, Reason: fmt.Sprintf("allow[%d] (%v)", i, p.Allow[i])}
		}
	}
	if ok {
		return Verdict{
			Rule:   "EgressPolicy/" + mine[only].Name,
			Reason: fmt.Sprintf("%v may dial only what policies list at node %s, and none lists %v", by, r.Facts.Node, t),
			Remedy: "list it: weft edit egresspolicy " + mine[only].Name,
		}
	}
	return r.nothing(t, own)
}

// special decides on an address that must be named itself, by a policy and by the
// node's file. A server dials one on its own machine only for who is there already.
func (r Rules) special(by Asker, t Target, mine []Policy, rule, what string) Verdict {
	itself := func(a Rule) bool { return a.names(t.Addr) && a.hasPort(t.Port) }
	at := slices.IndexFunc(mine, func(p Policy) bool {
		meant := r.Server == "" || slices.Contains(p.Roles, RoleLocal) // what is for nodes says nothing of servers
		return meant && slices.ContainsFunc(p.Allow, itself)
	})
	if r.Server != "" && by.Role != RoleLocal {
		return Verdict{Rule: rule, Reason: fmt.Sprintf("%v is %s, and would be server %s's own", t, what, r.Server), Remedy: nameNode}
	}
	named := r.Ahead || r.Server != "" || slices.ContainsFunc(r.Bound.Allow, itself)
	if at >= 0 && named {
		return Verdict{Allow: true, Rule: "EgressPolicy/" + mine[at].Name, Reason: fmt.Sprintf("allow names %v itself", t.Addr)}
	}
	missing, where := "an EgressPolicy", "an EgressPolicy and in the node's --egress-file"
	switch {
	case r.Server != "":
		missing, where = "an EgressPolicy with role local", "an EgressPolicy with roles: [local]"
	case at < 0 && !named:
		missing = "both an EgressPolicy and the file of node " + r.Facts.Node
	case at >= 0:
		missing = "the file of node " + r.Facts.Node
	}
	return Verdict{
		Rule:   rule,
		Reason: fmt.Sprintf("%v is %s, and %s must allow that address by itself", t, what, missing),
		Remedy: fmt.Sprintf("if it is really meant, allow cidr %v in %s", netip.PrefixFrom(t.Addr, t.Addr.BitLen()), where),
	}
}

// nothing says why what nobody allows is refused.
func (r Rules) nothing(t Target, own bool) Verdict {
	v := Verdict{Rule: "default", Remedy: "allow it with an EgressPolicy" + explain}
	port := strconv.Itoa(int(t.Port))
	announced, isAnnounced := holds(r.Facts.Announced, t.Addr)
	switch {
	case own && r.Server != "":
		v.Reason = fmt.Sprintf("%v is %s own address, and server %s dials only %s there by itself", t, r.owner(), r.Server, words(DefaultHostPorts()))
	case own:
		ports := append(DefaultHostPorts(), r.Facts.HostPorts...)
		v.Reason = fmt.Sprintf("%v is node %s's own address, and %s none of its host ports (%s)", t, r.Facts.Node, port, words(ports))
		v.Remedy = fmt.Sprintf("declare it on the node: --egress-host-port %s; or allow it with an EgressPolicy", port) + explain
	case r.Server != "" && isAnnounced:
		v.Reason = fmt.Sprintf("%v is in %v, which node %s announces: that node may dial it, not server %s", t, announced, r.Facts.Node, r.Server)
		v.Remedy = "let it go through tunnels: egressSelectorMode pod; or " + nameNode
	case inAny(r.Facts.Cluster, t.Addr) && r.Facts.Node == "":
		v.Reason = fmt.Sprintf("%v is in the cluster's range, and leased to nobody", t)
		v.Remedy = "see who has leased what: weft get leases"
	case inAny(r.Facts.Cluster, t.Addr):
		v.Reason = fmt.Sprintf("%v is in the cluster's range, but not in node %s's lease (%s)", t, r.Facts.Node, r.lease())
		v.Remedy = "dial it through the node that leases it"
	case r.Facts.Node == "":
		v.Reason = fmt.Sprintf("%v is no address of a node, of a lease or of a service, and server %s dials nothing else by itself", t, r.Server)
	default:
		v.Reason = fmt.Sprintf("%v is no address of node %s, of its lease (%s), of what it announces, or of a service", t, r.Facts.Node, r.lease())
	}
	return v
}

// owner is whose an address is that is dialled from a server.
func (r Rules) owner() string {
	if r.Facts.Node == "" {
		return "the server's"
	}
	return "node " + r.Facts.Node + "'s"
}

func (r Rules) lease() string {
	if len(r.Facts.Lease) == 0 {
		return "none"
	}
	return words(r.Facts.Lease)
}

// file is a refusal of the node's own file.
func (r Rules) file(reason string) Verdict {
	return Verdict{Rule: "node-file", Reason: reason, Remedy: "change the file on node " + r.Facts.Node + " (--egress-file); no server can"}
}

// permits tells whether the file leaves an address open: a name in it does not
// stand for one that must be named itself.
func (b Bound) permits(t Target) bool {
	if !b.Limited {
		return true
	}
	_, _, itself := Special(t.Addr)
	return slices.ContainsFunc(b.Allow, func(a Rule) bool {
		return a.matches(t) && (!itself || a.names(t.Addr))
	})
}

// malformed says what keeps a target from being judged.
func (t Target) malformed() string {
	switch {
	case t.Port == 0:
		return "port 0 is none"
	case t.Addr.IsValid():
		if err := validAddr(t.Addr); err != nil {
			return err.Error()
		}
	case t.Host == "":
		return "nothing is asked for"
	}
	if t.Host == "" {
		return ""
	}
	if err := ValidName(t.Host); err != nil {
		return err.Error()
	}
	return ""
}

func match(rules []Rule, t Target) int {
	return slices.IndexFunc(rules, func(r Rule) bool { return r.matches(t) })
}

func inAny(ps []netip.Prefix, a netip.Addr) bool {
	_, in := holds(ps, a)
	return in
}

func words[T any](list []T) string { return strings.Trim(fmt.Sprint(list), "[]") }
