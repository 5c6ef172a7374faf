// Package socks reads what a SOCKS5 client asks for, and answers (RFC 1928): CONNECT
// without authentication, to an address or to a name, which is resolved at the far
// end.
//
// Every field has its bound by the protocol; what does not fit is answered with the
// code for it where there is one, and refused whole. Nothing beyond the request is
// read: the bytes after it are the target's. It dials nothing, sets no deadline, and
// starts no goroutine.
package socks
