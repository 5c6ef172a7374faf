// Package store is the contract of the key-value store that holds everything
// weft knows: ordered by one revision, changed by compare-and-swap transactions,
// watched from a revision on.
//
// Rooms reach it through the narrow interfaces that they declare; store/etcd is
// the real one (embedded or external), store/storetest one in memory with the
// conformance suite that both pass. Cache mirrors a prefix over one watch, so
// that a server has one watch and not one per agent.
package store
