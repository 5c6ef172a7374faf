// Package fabrictest is a control server and an agent in memory, for tests of
// the operator's tool: real gRPC, real mutual TLS on loopback, state that is
// kept. It refuses what the real ones refuse: unknown kinds and fields, ranges
// with host bits, writes to read-only kinds, a revision that has moved on.
//
// It holds no more rules than the tool's tests need, and no etcd.
package fabrictest
