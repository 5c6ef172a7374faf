// Package storetest has a store.Store in memory, and the conformance suite that
// it passes together with the real ones.
//
// Memory has an opinion: it orders everything by one revision, takes a
// transaction whole or not at all, keeps history until it is compacted, refuses
// what etcd refuses, and prints itself as text for goldens. Faults are injected
// at its edge: a lost race, a lost answer, a store that is away, a watch that is
// cut. It starts no goroutine and works inside testing/synctest.
//
// It is no model of etcd's timing, and it persists nothing.
package storetest
