// Package walk walks at random over the rooms that decide who has what: allocators on
// several servers, what grows and shrinks leases, names and ranges that change, backups,
// restores, stores that are lost and made again of a backup or of what agents carry;
// with crashes, lost answers, clocks that jump by hours, nodes that are away, that are
// deleted while they are, and that come back with what they had.
//
// A model that shares no code with them, its own arithmetic of prefixes included, knows
// all: since when each node holds what, and who was heard. It judges what doc.go of
// server/lease promises, after each transaction and each answer: the store has no prefix
// twice; no answer names what another holds that was heard, or holds at all if the store
// was never lost; none leaves out what the node holds; as long as the store was not lost
// nobody is refused what it holds; no restore changes a lease; in the end everybody is
// let in, if operators mend what is named.
//
// It holds tests only.
package walk
