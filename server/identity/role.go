package identity

import (
	"slices"
	"strings"
)

// Role is what a caller may do.
type Role string

// Roles. The empty one has no certificate. Of people's, each may what the one
// before it may: viewer, operator, admin. A node and a server are apart, and so is a
// dialer: a program, such as a kube-apiserver, that dials through nodes' tunnels and
// may do nothing else.
const (
	RoleNode     Role = "node"
	RoleServer   Role = "server"
	RoleDialer   Role = "dialer"
	RoleViewer   Role = "viewer"
	RoleOperator Role = "operator"
	RoleAdmin    Role = "admin"
)

// ladder are people's roles, the least first.
var ladder = []Role{RoleViewer, RoleOperator, RoleAdmin}

// UserRoles are the roles that a user can have: people's, the least first, then the
// programs'.
func UserRoles() []Role { return append(slices.Clone(ladder), RoleDialer) }

// ParseRole reads the role of a user.
func ParseRole(text string) (Role, bool) {
	r := Role(text)
	return r, slices.Contains(UserRoles(), r)
}

// may says whether a role fulfils the rule that names least.
func (r Role) may(least Role) bool {
	if least == "" || r == least {
		return true
	}
	if least == RoleDialer { // people who may write may dial too; a server hands on
		return r == RoleServer || r.may(RoleOperator)
	}
	rung := slices.Index(ladder, least)
	return rung >= 0 && slices.Index(ladder, r) >= rung
}

// people says whether a role is a user's.
func (r Role) people() bool { return slices.Contains(ladder, r) || r == RoleDialer }

// said is a rule as errors print it: every role that fulfils it.
func said(least Role) string {
	words := make([]string, 0, len(ladder)+1)
	if least == RoleDialer {
		words, least = append(words, string(RoleDialer)), RoleOperator
	}
	rung := slices.Index(ladder, least)
	if rung < 0 {
		return "role " + string(least)
	}
	for _, r := range ladder[rung:] {
		words = append(words, string(r))
	}
	return "role " + strings.Join(words, " or ")
}

// rule names the least role that may call a service, or some of its methods.
type rule struct {
	service string
	methods string // separated by spaces; none: all that no other rule of the service names
	least   Role   // the empty role: anybody
}

// rules are all rules there are: viewers read everything but secrets and the audit, operators
// write what the fabric should be, admins decide who is who and what is kept.
// What no rule names is for admins.
var rules = []rule{
	{"grpc.health.v1.Health", "", ""},
	{"grpc.reflection.v1.ServerReflection", "", RoleViewer},
	{"grpc.reflection.v1alpha.ServerReflection", "", RoleViewer},

	{"weft.v1.Join", "", ""}, // shows a token, or proves the recorded key
	{"weft.v1.NodeSync", "", RoleNode},

	{"weft.v1.Status", "", RoleViewer},
	{"weft.v1.Events", "", RoleViewer},
	{"weft.v1.Audit", "", RoleOperator}, // who did what from where is not for everybody who may look
	{"weft.v1.Trace", "", RoleViewer},
	{"weft.v1.Policy", "", RoleViewer},
	{"weft.v1.Egress", "", RoleViewer},
	{"weft.v1.Egress", "ListDials", RoleOperator}, // who dialled what
	{"weft.v1.Egress", "Tunnel", RoleNode},        // of HTTP, as Hop and Dial
	{"weft.v1.Egress", "Dial", RoleDialer},
	{"weft.v1.Egress", "ListHeld Hop", RoleServer},

	{"weft.v1.Resources", "", RoleViewer},
	{"weft.v1.Resources", "Apply Replace Delete Rollback Confirm", RoleOperator},
	{"weft.v1.Nodes", "", RoleViewer},
	{"weft.v1.Nodes", "Pause Resume Probe", RoleOperator},
	{"weft.v1.Nodes", "Rename", RoleAdmin},
	{"weft.v1.Leases", "", RoleViewer},
	{"weft.v1.Leases", "Reserve Drain", RoleOperator},
	{"weft.v1.Mesh", "", RoleViewer},
	{"weft.v1.Mesh", "Probe", RoleOperator},
	{"weft.v1.Mesh", "RotateKeys", RoleAdmin},
	{"weft.v1.Mesh", "Relay", RoleNode}, // of HTTP

	{"weft.v1.Diagnose", "", RoleViewer},
	{"weft.v1.Diagnose", "SetLogLevel", RoleOperator},

	{"weft.v1.Tokens", "", RoleAdmin},
	{"weft.v1.Tokens", "List", RoleViewer},
	{"weft.v1.Users", "", RoleAdmin},
	{"weft.v1.Users", "List", RoleViewer},
	{"weft.v1.Users", "Renew", RoleViewer}, // of the caller's own name
	{"weft.v1.Authority", "", RoleAdmin},
	{"weft.v1.Authority", "Status", RoleViewer},
	{"weft.v1.Backups", "", RoleAdmin},
	{"weft.v1.Backups", "List Verify", RoleViewer},
	{"weft.v1.Backups", "ListHeld GetFile", RoleServer},
	{"weft.v1.Members", "", RoleAdmin},
	{"weft.v1.Members", "List", RoleViewer},
	{"weft.v1.Members", "Join", ""}, // shows the server token
	{"weft.v1.Members", "Add Acquire Release Inspect Defragment Ask TakeOut", RoleServer},
}

// leastRole answers who may call a method, "/weft.v1.Join/Renew", and whether a
// rule names it.
func leastRole(method string) (Role, bool) {
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	least, named := RoleAdmin, false
	for _, r := range rules {
		if r.service != service {
			continue
		}
		if r.methods == "" && !named {
			least, named = r.least, true
		}
		if slices.Contains(strings.Fields(r.methods), name) {
			return r.least, true
		}
	}
	return least, named
}
