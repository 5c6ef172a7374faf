// Package disco is the wire format of the probes that two agents send each other
// outside of WireGuard, from the very ports of their WireGuard devices: a ping asks
// whether an address of the peer answers, a pong says so, and from where the ping came.
//
// A packet is 88 bytes, ping and pong alike, so that nobody makes much of little:
//
//	magic 4 | key id 8 | nonce 12 | sealed: kind 1, flags 1, sends 1, zero 1, port 2,
//	zero 2, address 16, session 8, number 8, token 8 | tag 16
//
// The address of a pong is where its ping came from, that of a ping over a relay one of
// the receiver's to which the sender has opened its router.
//
// The magic is no type of a WireGuard message (1 to 4, little-endian), so that devices
// of both kinds drop it. Keys are derived (HKDF-SHA256, RFC 5869) from X25519 (RFC
// 7748) of the two static WireGuard keys of one slot, one for each direction: a packet
// names its pair by the key id alone, which says nothing to who has not the keys. It is
// sealed by AES-256-GCM with a drawn nonce: 2^32 packets under one key (NIST SP
// 800-38D, 8.3) are 136 years at one a second.
//
// Invariants: no packet counts twice, and none of an earlier life of either end counts
// at all, whatever their clocks say. A pong names the session and number of the ping it
// answers. A ping counts only with the token that pongs have told to just its sender's
// session: one without it is answered, so that the sender learns the token, and nothing
// else. See Line.
//
// It opens no socket, and does not say what a probe means: see packages probe and mesh.
package disco
