// Package keyring keeps the node's WireGuard keys: one pair for each of its two
// devices (slots), and the pre-shared keys of its peers.
//
// They lie in one file of the data folder, wireguard.json, 0600, and never leave the
// node: what is told to others is intent.Slot, which has the public half. A key is on
// the disk before anybody hears of it, so that no crash makes a node offer a key that
// it cannot use.
//
// Invariants: a slot holds one key at a time, and gets another only after Drop; a
// pre-shared key is of one tunnel, by both ends' keys, and it and the one before it of
// the same peer and slot are both kept, because the device has the old one until the
// new one is set. How far the node's ports are from the cluster's lies beside. Nothing here prints a
// secret: they are found by the public key or by the SHA-256 that stands for them.
//
// It decides nothing about when keys change (package mesh does), and touches no
// device (package kernel does). It owns no goroutine and is safe for concurrent use.
package keyring
