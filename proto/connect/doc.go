// Package connect asks for a connection through somebody else: the client's side
// of HTTP CONNECT (RFC 9110, section 9.3.6) in HTTP/1.1 (RFC 9112), for a company's
// proxy as for a weft server.
//
// What the other end says is not trusted. An answer is read up to a bound and
// within the deadline of its context; bytes of the target that came with it are
// kept. A refusal is a value with the status and one line of the reason.
//
// It dials nothing, chooses no proxy and speaks no TLS: it is given a connection
// that stands, and leaves it to the caller when it fails. It starts no goroutine.
package connect
