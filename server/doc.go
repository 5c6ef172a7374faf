// Package server is weft-server: it puts the rooms together and runs them.
//
// What is its own is what lies between them: the data folder's lock, the epoch
// and schema of the store, the first ClusterConfig, and the one TLS port, whose
// connections it hands by ALPN to agents' lines (weft-sync), to gRPC (h2) and to
// net/http (http/1.1): agents' tunnels, and dials that servers hand on. Of those that come at once few are worked on at a time, the
// newest first.
//
// Invariants: one server a data folder. Nothing is served before the store is
// mirrored, and the store closes after everything else has ended. Run returns at
// most stopWithin after its context ends, but for the store's own closing.
package server
