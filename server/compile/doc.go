// Package compile makes what agents are told of what is stored: from the
// ClusterConfig, the carriage, Nodes, Leases, reports and EgressPolicies below
// store.Intent to the objects of collections cluster (one object), peers (one a node that holds a lease
// and has reported) and egress (one a policy).
//
// Invariants: it is pure. A Compiler fed with events costs what changed, and
// holds the same objects as one that is fed with the result of those events at
// once. What leaves it is what intent.Decode takes. A stored object that cannot
// be read is a Problem, and its last good value stands until it is mended or
// deleted: a broken byte never takes a node off the network.
//
// It knows no agent and no stream; push decides who is sent what and when.
package compile
