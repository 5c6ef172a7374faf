// Package host finds what a node's own system does to the fabric: firewalls of
// others that drop pods' packets, settings that break routing, daemons that take
// devices and routes away, another network's leftovers, a clock that is wrong, a
// disk that is full. Each finding says about what it is, the cause, and the command
// that mends it.
//
// Findings is pure: what was seen (Facts) and what the fabric needs (Node) go in.
// Whether a firewall drops is not guessed from its name: the packets that the
// fabric needs (Needs) are walked through its chains, rule by rule.
//
// Invariants: a match that is not read, such as one with a set of addresses or a
// limit, is taken as not met, so a rule with one neither opens nor closes; a
// finding says what was seen and never what might be. The same facts give the same
// findings in the same order.
//
// Openings says which rules of its own a tool would have to get, for those who ask
// with --integrate-firewall. Nothing else of others is ever written.
//
// It reads no file and asks no kernel: package agent does, see Facts.
package host
