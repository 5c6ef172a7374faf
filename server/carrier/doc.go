// Package carrier takes the fabric from one way of carrying packets between nodes to
// another (backend, VNI, UDP port), and loses none of them.
//
// What the ClusterConfig says is where to go. The carriage, an object of its own
// beside it, is where the fabric is: what nodes send by, what they receive as well,
// and which of them do not know yet. Agents follow the carriage, so that no two of
// them ever depend on doing something at the same moment:
//
//	prepare  all receive by the new carrier, and send by the old
//	switch   all send by the new, and receive by the old; a pair with a node that has
//	         not said that it is prepared goes on by the old, both ways
//	leave    once every node has said that it sends by the new, the old is dropped
//
// Plan is pure: where to go, where the fabric is, and what nodes have applied go in.
// Run looks while there is something to do, on the server that leads.
//
// Invariants: nobody sends by a carrier that the other end has not said it receives,
// but for nodes whose agent is of a release that does not know of carriages. A node
// that is away delays nobody and is reached all the while; the old carrier is kept
// for it until it has been heard, or deleted. A change that is taken back turns round
// where it stands. A third carrier waits until the first is left; where pairs do not come
// to the second, the fabric goes back to the first for it, once.
//
// It knows no kernel and no stream.
package carrier
