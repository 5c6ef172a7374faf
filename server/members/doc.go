// Package members is what the servers of a fabric are to each other.
//
// Each server registers under store.Servers with a lease, so that one that
// vanishes is missed within seconds; what is known of it stays until it is
// removed. A leader that its machine does not answer for is deposed by the others
// (outlive). One of them leads: it alone gives prefixes to nodes, and does the work
// of one (Lead). The others hand a question on to it, once; so does a server that
// is asked about a node whose stream another one holds (AskAt).
//
// Invariants: what a leader writes carries Fence, so a deposed one writes nothing,
// also if it does not know yet. A question that was handed on is never handed on
// again. A server that stops in good order resigns first. The embedded etcd gains
// a member as a learner, which gets its vote when it has caught up; members are
// defragmented one at a time, the raft leader last; a member is not removed if
// what is left has no quorum. Nothing is removed because it does not answer.
//
// Goroutines: Run owns all, those of work given to Lead among them.
//
// While the store answers nobody (Silence), a server tells from memory and from
// whom it reaches what is the matter; it decides nothing by that.
//
// It does not open the store, it allocates nothing, and it signs nothing.
package members
