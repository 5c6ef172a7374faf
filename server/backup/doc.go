// Package backup saves what a fabric should be into files, and brings a store
// back to one of them.
//
// A backup is a logical dump of the store as of one revision: a header line, a
// line of JSON a key, a trailer with their number and SHA-256, all of it gzip. So
// the same file goes back into an embedded etcd, a cluster and one elsewhere. What
// nodes observe, which servers run and what happened is not in it.
//
// A restore is one transaction that marks the store (store.Restore), differences
// in transactions of bounded size, and one that names the new epoch and takes the
// mark away. Between the first and the last no server serves anything, and whoever
// decided in the old epoch can no longer write (store.Fenced). Where it stops, a
// server that has the file goes on, from the differences that are left.
//
// Invariants: a backup file is whole or not there; saving one never touches
// another; nothing is restored from a file that was not read to its end; a store
// is never restored without a copy of what was in it. The fabric's CA is never
// restored into a store that has one: agents know it.
//
// It does not know who may ask for a backup, nor what becomes of leases younger
// than one: that is server/lease, told by store keys that a restore leaves.
package backup
