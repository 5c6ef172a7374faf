// Package steward sees that every node's lease fits: a prefix of each family that
// the cluster has, a further one for a node whose pods fill what it has, and back
// what is empty and not needed.
//
// Plan is pure: a lease, the cluster's configuration and what the node last said of
// the use of its prefixes go in, steps come out. Run looks at the leases whenever
// intent changes, and each second at the few nodes that are nearly full, hold more
// than one prefix of a family, or drain one.
//
// Invariants: a prefix goes back only after its node has said, with the lease in
// its hands that closes it, that no pod has an address of it and none will get one.
// Of a family of the cluster one prefix stays. What runs twice, on two servers, is
// decided once: package lease writes, and asks the store each time.
//
// Run starts no goroutine. It gives no prefix itself.
package steward
