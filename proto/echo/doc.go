// Package echo is the wire format by which a node asks a server from where its
// datagrams come: what an address translator makes of the port of a WireGuard device.
//
// Both are 72 bytes over UDP, so that nobody makes much of little by another's address:
//
//	magic 4 | kind 1 | zero 3 | id 8 | request: cookie 32, zero 24
//	                                 | reply: port 2, zero 6, address 16, zero 32
//
// The magic is no type of a WireGuard message, so that a device that gets a reply
// drops it. The cookie is what the server gave over the node's stream (EchoOffer), and
// is opaque here. A reply is matched by its id alone, as in STUN (RFC 8489, 6.3.4): who
// sits on the way may lie in it, which costs a probe that nobody answers.
//
// It opens no socket: see packages server/echo and agent/probe.
package echo
