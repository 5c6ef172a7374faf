// Package local serves the node's own two sockets in the run folder: agent.sock,
// the gRPC service Agent with reflection, for people and tools; and cni.sock, one
// JSON document each way, for the CNI shim.
//
// Invariants: a socket file that nobody listens on is replaced, one with a
// listener is refused; agent.sock is 0660 and cni.sock 0600, so who may ask is
// decided by the file system. Every answer comes from this node alone, with all
// servers gone as well.
//
// It decides nothing: what it tells it asks of the functions and interfaces that
// Agent and CNI are given.
package local
