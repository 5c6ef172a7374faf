// Package mesh decides by which way each pair of nodes sends: which rung of the
// ladder it stands on, and to which address a WireGuard peer is sent.
//
// The rungs, from the best: direct (routed on a shared L2), VXLAN, WireGuard to an
// address of the peer that answers, punched (the same, through routers that only let
// answers in), through another node, through a server's relay. What a pair may use
// is intent.Cluster.Ways; what works is found out by probing. A pair starts with what
// surely works and climbs.
//
// A Machine is pure: what is known (Input) and what happened (Event) go in, with the
// time; choices and Actions come out. It holds no clock, no socket and no goroutine.
//
// Words: a line is a set of devices of the data path (Over), proved by echo requests
// between the fabric addresses through it. A tunnel is one WireGuard slot of a pair,
// and a trail is one of the ways on which its ciphertext can go: an address of the
// peer, or a relay. Trails are proved by probes outside of WireGuard. The end with the
// lower name nominates the trail; either may when the one in use dies.
//
// Beside it two rules say, of one look at what nodes report, when keys and ports change:
// Rotation, and ClashOf, which finds two nodes that a router does not keep apart.
//
// Invariants: a pair that has a way that works never leaves it for one that is not
// proved. Receiving is open on all rungs that a pair may use, whichever it sends by, so
// that either end may move alone. Traffic never waits for a probe. Once a pair that
// must be encrypted has been, it is never sent in the clear again. What a node sends
// as probes is bounded, per pair and altogether.
package mesh
