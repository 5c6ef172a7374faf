// Package preshared has each pair of nodes agree on a pre-shared key for each of its
// WireGuard tunnels, by ML-KEM-768, and says which tunnel may be there with which key.
//
// Messages (proto/preshared) go inside of a tunnel of the pair: from fabric address to
// fabric address, bound to the WireGuard device, so that they can go nowhere else. A key
// for one slot is agreed on in the tunnel of the other, which the pair sends by, before
// the slot has a peer at all: its first handshake is with the key, and proves that both
// ends have the same. Pairs then move there as in any change of keys (package mesh).
// Only a pair that sends by no tunnel agrees in the very one that the key is for: it is
// open without a key while that lasts, between the fabric addresses alone and with no
// route that packets take by themselves (package overlay), and then made anew, because
// WireGuard would keep a session that was begun without.
//
// The lower-named node asks, again and again until it is answered; the other answers
// what it was asked already as it did before. Both have a key on the disk before they
// use it. Which of two ends was the last to hear of the other cannot be known; so one
// that has waited for long enough tries the key, and one whose tunnel stays mute with it
// forgets it and begins again. A tunnel that has no key is not sent by for that: there
// is no way back to none.
//
// Invariants: nothing is taken from a message that is not authentic, of the tunnel as it
// is now, and from a node that may send it. Each pair has one exchange at a time, and
// its work is bounded: what a node sends beyond its share is dropped before anything is
// computed of it, and an exchange of a tunnel is taken up five times a second at most.
// Nothing listens unless keys are wanted. Keys are named by the first bytes of their
// SHA-256, and never printed.
//
// What it gives: who records packets now cannot read them with a quantum computer later,
// nor can who only reads what servers know. It does not help against a server that
// hands out keys of its own.
//
// Machine is pure but for random numbers and its Store: time goes in. Agreement is the
// hands of it; its Run owns one goroutine for each socket and one that works. It decides
// neither when keys change nor which way a pair takes.
package preshared
