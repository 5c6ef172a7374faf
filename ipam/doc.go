// Package ipam is address arithmetic: a Space hands node prefixes out of a
// cluster CIDR, a Pool picks pod addresses out of a node's prefixes.
//
// Invariants: prefixes taken of one Space never overlap; what is given is the
// lowest free, and what was freed rests before it is given again, unless
// nothing else is left, when the longest-rested is given rather than fail.
// Every operation costs time in the length of an address or in the number of
// things taken, never in the size of a prefix: a /64 is as cheap as a /24.
//
// It owns no record: who holds what is an etcd transaction (server/lease) or a
// file on a node's disk (agent/pod), which ask here what to write. It reads no
// clock; callers bring the time.
package ipam
