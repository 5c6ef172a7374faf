// Package overlay plans how a node's kernel reaches the pods of all others:
// links, addresses, routes, neighbours, forwarding entries, WireGuard peers and the
// guard of the tunnel's port. It is the only producer of these but for the pods' own
// ends.
//
// Objects is pure: what the node was told, what its uplink is now, and what was
// chosen for each pair go in; kernel objects and problems come out. The path of a
// pair is decided by intent.Cluster.Path, which the server evaluates too, or, with a
// backend whose pairs choose their way, by package mesh.
//
// Of a pair that chooses, packets go by a route of metric 0. Behind it stand the
// routes of all other ways that the pair may use, for probes that are bound to a
// device, and behind these a refusal.
//
// Invariants: no two objects have one key and different values, whatever the
// intent holds. Every route has the node's fabric address as preferred source
// where it has one of that family. A node without a lease plans nothing, so the
// caller must not prune (reconcile.Want.Complete) before the node holds one. No route
// in the clear, chosen or standing by, leads to a peer that must be encrypted. WireGuard
// devices and peers stay while the node has no underlay address.
//
// It chooses no address (package underlay) and no way (package mesh), knows no pod
// (package pod) and no private key, and filters nothing but datagrams for the tunnel
// that come from no peer.
package overlay
