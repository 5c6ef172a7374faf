// Package echo tells nodes from where their datagrams come: on two UDP ports of the
// server, the one of its TLS port and the next, so that a node sees whether its address
// translator makes another of each destination.
//
// Who asks shows a cookie, which a node is given over its stream: so nobody else is
// answered, and a request with another's address makes a reply as large as itself, to
// an address from which few may ask. A node asks at most NodeRate a second, a source
// address at most SourceRate: many nodes can stand behind one. What is not well formed,
// has no good cookie or is too much is counted, and not answered.
//
// Invariants: memory does not grow with what comes. A datagram without a good cookie
// costs a comparison or one block of AES, and takes no part in rates. The answer leaves from
// the address that was asked.
//
// Run owns one goroutine a port. A port that somebody else has is not served; the
// server works without it.
package echo
