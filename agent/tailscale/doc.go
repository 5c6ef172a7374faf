// Package tailscale makes the node a member of a tailnet: it drives the tailscale
// program that the operator installed, as --vpn-auth asks, and tells the fabric
// which addresses that gave the node and which prefixes the tailnet carries.
//
// ParseAuth and ParseFile read what the operator wrote. Next is pure: what tailscaled
// is (State), what the fabric wants of it (Wish) and what was done before (Record) go
// in; the one next call of the program comes out, or none. Problems words what a
// person must do. Provider runs these calls, each with a deadline and with bounded
// output, and looks again.
//
// Invariants: a setting that the operator made is never changed but for two that the
// fabric cannot do without, --accept-routes and the node's own prefixes among
// --advertise-routes; both are on disk as ours before they are set, so that Leave
// takes back ours and nothing else. Prefixes that somebody else advertises are kept
// whatever we do. `tailscale up` never runs with --reset. `tailscale down` runs in
// Leave alone, and only if Provider had brought the node up. The key to join with is
// never an argument of a process, never in an error, never in a log; it is in a file
// of mode 0600 while `tailscale up` runs.
//
// Provider.Run owns no goroutine but its caller's. It configures no device, no route
// and no rule: tailscaled does; and it does not decide what the node advertises.
package tailscale
