// Package etcd is the real store.Store: etcd in this process, or one elsewhere.
// It is the only package that knows etcd.
//
// Embed runs a server below the data folder with production settings and talks
// to it by function calls; nothing listens but two unix sockets in a folder that
// only the owner can enter. Dial talks to servers elsewhere, over TLS and with a
// user if asked. Both give the same Store, which passes the suite of storetest.
//
// Invariants: every request has a deadline. Lists are paged, at one revision. A
// watch outlives what passes (a lost connection, an election) and goes on where
// it was; it ends with its context, its function's error, or ErrCompacted. What
// the in-process client hands out is shared memory and is only read.
//
// Goroutines: those of etcd, and of Campaign while it runs. Close ends them, in
// bounded time.
//
// It knows no key of weft's but those of elections, and keeps no cache.
package etcd
