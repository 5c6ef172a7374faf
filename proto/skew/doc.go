// Package skew says which releases of agent and server speak with each other.
//
// What they say on the stream has one number, Protocol, apart from the name of a
// release: it is raised by a release whose messages mean something else or more. A
// server of number N serves agents of N-2 to N+1, so that servers are upgraded
// first, agents in any order and weeks later, and a server can be rolled back
// while agents stay. Both sides judge by the same function. One outside is told
// so, and its node keeps its data path.
//
// Inside the window, what a side does not know is passed over: messages, fields,
// collections (which hello lists) and objects, which are reported.
//
// The package is pure. What is written to disk and store is package schema's.
package skew
