// Package lease gives every node its prefixes, one a family of the cluster's
// ranges, and keeps them its own.
//
// Invariants: no prefix is ever in two leases, whatever races, crashes and
// answers get lost; each transaction that touches a lease or the ranges names
// the guard key at the revision that was decided from and moves it, so of two
// that decided from the same state one loses and decides again. Ownership never
// ends by itself; what was freed rests ipam.RestPrefix, on record.
//
// A restore takes the store back in time, and only agents remember what came
// after. Then these hold:
//
//   - The store's history is one line, of points (epoch's ordinal, revision).
//     Whoever says who has a prefix speaks from one: the backup from where it was
//     made; an agent, of itself and of its peers, from the intent it holds. As no
//     prefix is in two leases at any point, two that differ speak from different
//     points, and the younger word is right. It is kept with each lease.
//   - A lease that rests on an older word gives way to a younger, until its node
//     was told of it in this epoch, or came with it. From then on two would use
//     it: it stays, and who comes later is refused by name, keeps what it has and
//     is told nothing else. What it carries is kept from everybody else; when the
//     other gives it back, it is its.
//   - Nothing new is given before agents had their time to speak.
//
// So a node that was deleted after the backup gives way to who carries its
// prefix, also where nodes changed places; and stale claims lose in whatever
// order they come. What nobody who comes in that time knows, no rule can save: a
// prefix that was leased after the backup to a node that is away may be given
// again, and a node that was deleted while it was away may come back with its
// old one first. The other is then refused, never silently shared with.
//
// Decisions are made in memory, from a book that is read once and stands as long
// as the guard does; simultaneous Acquires share a transaction. It starts no
// goroutine.
//
// It does not know whether a node is alive, and it writes no object but Leases,
// and those that make a claimed node reachable.
package lease
