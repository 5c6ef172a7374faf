// Package identity says who is who in a fabric, and who may call what.
//
// Its Authority holds the CA: the private key is in the store, sealed with
// <data-dir>/server.key, so that the store alone is worth nothing. It makes join
// tokens, signs nodes' certificates (weft.v1.Join), writes the first operator's
// credentials and the first join token, gives the server its TLS, and authorises
// every call by role.
//
// A node is its name and the public key that was recorded when it first joined.
// A certificate counts only while that record stands and is not revoked, so
// revocation needs no lists: it is a write, and every server sees it over its
// watch, refuses the next call and cuts the live streams.
//
// Invariants: a name never changes its key but by a token made for that name
// with replace. Of several joins that race for a token's last use one wins. A
// file that cannot be read is an error that says what to do, and is never
// overwritten. Tokens are stored as hashes; keys and tokens are in no log.
//
// Goroutines: Run owns two, and the callbacks of OnRevoke run in one of them.
//
// It does not listen, it leases no prefixes, and it deletes no Node objects.
package identity
