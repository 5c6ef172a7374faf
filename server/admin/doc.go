// Package admin answers operators: services Resources, Status, Nodes, Leases,
// Mesh and Tokens.
//
// Invariants: everything in a request is checked before its first write; what is
// written goes in transactions that name the state they were decided from, so
// that of two operators one is told to look again; an error names the field, the
// value and what is accepted, as google.rpc.BadRequest. Answers are read from the
// store, so that an operator sees what he wrote, whichever server he asks; while
// that answers nobody, how nodes are is told from memory, and said to be so.
//
// It decides no address (lease), compiles nothing by itself (compile), holds no
// stream of agents (push) and judges no certificate: who may call is decided
// before a call arrives here.
package admin
