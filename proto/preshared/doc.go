// Package preshared is how two agents agree on the pre-shared key of a WireGuard
// tunnel: the messages, and what the key is made of.
//
// The end whose node has the lower name offers an encapsulation key of ML-KEM-768
// (FIPS 203), the other answers with a ciphertext, and both derive the key. The first
// then says that it has the key on its disk, and the second that it has it too:
//
//	Offer 1184 in two halves  ->
//	                          <-  Answer 1088 in two halves
//	Have id                   ->
//	                          <-  Agreed id, or Unknown id
//
// A datagram is a head of 72 bytes, half of what is carried, or nothing, and a MAC:
//
//	magic 3 | version 1 | kind 1 | slot 1 | half 1 | zero 1 | pair 32 | id 32 | body | MAC 32
//
// In halves, because the narrowest tunnel that carries IPv6 has 1280 bytes (RFC 8200,
// section 5). The pair is a hash of both names, both WireGuard keys of the slot and the
// slot: what was meant for other keys is no message. The id is the SHA-256 of the
// encapsulation key while that is agreed on, of the key itself afterwards. The MAC is
// HMAC-SHA256, with a key derived from X25519 of the static WireGuard keys of the
// tunnel that carries the message: the tunnel proves which node sends, and the MAC that
// it is its agent and not a pod with a borrowed address.
//
// Nothing here is secret but the keys: to know the messages is of no use without
// the decapsulation key, which is made for one exchange and forgotten.
//
// Invariants: what is malformed, of another version, of another pair or not authentic is
// refused whole. A message is valid in one direction only, by its kind.
//
// It says nothing about when to agree, and opens no socket: see package agent/preshared.
package preshared
