// Package lease gives every node its prefixes, one a family of the cluster's
// ranges, and keeps them its own.
//
// A node holds a prefix from the answer that names it until it has closed it, or was
// deleted. Invariants:
//
//   - No prefix is ever in two leases, nor overlaps one in another, whatever races,
//     crashes and answers get lost: each transaction that touches a lease or the ranges
//     names the guard key at the revision that was decided from and moves it, so of two
//     that decided from the same state one loses and decides again.
//   - Ownership never ends by itself; what was freed rests ipam.RestPrefix, on record.
//   - No answer names a prefix that another node holds, and none leaves out one that
//     the node itself holds.
//
// A backup that is brought back into the store does not touch leases, rests and what
// this room notes beside them: who has which prefix is a fact. It only adds leases that
// nobody has. So all of this holds however often, and of whatever, a store is restored,
// and whoever is away meanwhile.
//
// A store that was lost altogether and made again, of a backup or of what agents carry
// (store.Lost), is what agents remember better. Then the third invariant holds against
// everyone who was heard: whom the backup knew when it began to hold, or who came, or
// of whom an agent that came said so from a time when it did. What decides:
//
//   - The history of a fabric is one line, of points (epoch's ordinal, revision).
//     Whoever says who has a prefix speaks from one, its word: the backup from where it
//     was made; an agent, of itself and of its peers, from the intent it holds. Since
//     the loss the store has not forgotten anything, so what an agent has heard since
//     is hearsay, and the oldest word of all.
//   - As no prefix is in two leases at any point, two that differ speak from different
//     points, and the younger word is right. A lease that rests on an older word gives
//     way to a younger, until its node was told of it, or came with it. Across an earlier
//     loss a peer's younger word may only repeat what was over: there a node's own word
//     about itself decides, and until both have come nobody is told.
//   - Once told, it stands. Who comes later is refused by name, keeps what it has and is
//     told nothing else. What was refused, for whatever reason, is on record: nobody else
//     is given it, and when the other gives it back it goes to the youngest word.
//   - Nothing new is given before agents had their time to speak.
//
// What no rule can save: a prefix of a node that is away, and whose holding nobody who
// came knew of, may be given to another. Both then hold it; the one that comes second is
// refused, its peers send to the first, and status names both with what to delete.
//
// Decisions are made in memory, from a book that is read once and stands as long
// as the guard does; simultaneous Acquires share a transaction. It starts no
// goroutine.
//
// It does not know whether a node is alive, and it writes no object but Leases,
// and those that make a claimed node reachable.
package lease
