// Package overlay plans how a node's kernel reaches the pods of all others:
// links, addresses, routes, neighbours, forwarding entries and the guard of the
// tunnel's port. It is the only producer of these but for the pods' own ends.
//
// Objects is pure: what the node was told, and what its uplink is now, go in;
// kernel objects and problems come out. The path of each pair is decided by
// intent.Cluster.Path, which the server evaluates too.
//
// Invariants: no two objects have one key and different values, whatever the
// intent holds. Every route has the node's fabric address as preferred source
// where it has one of that family. A node without a lease plans nothing, so the
// caller must not prune (reconcile.Want.Complete) before the node holds one.
//
// It chooses no address (package underlay), knows no pod (package pod) and
// filters nothing but datagrams for the tunnel that come from no peer.
package overlay
