// Package lease gives every node its prefixes, one a family of the cluster's
// ranges, and keeps them its own.
//
// Invariants: no prefix is ever in two leases, whatever races, crashes and
// answers get lost; each transaction that touches a lease or the ranges names
// the guard key at the revision that was decided from and moves it, so of two
// that decided from the same state one loses and decides again. Ownership never
// ends by itself; what was freed rests ipam.RestPrefix, on record.
//
// Decisions are made in memory, from a book that is read once and stands as long
// as the guard does; simultaneous Acquires share a transaction. It starts no
// goroutine.
//
// It does not know whether a node is alive, and it writes no object but Leases.
package lease
