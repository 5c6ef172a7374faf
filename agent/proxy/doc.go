// Package proxy reaches servers through the HTTP proxy that the environment names:
// HTTPS_PROXY and NO_PROXY, also in lower case, which beats upper case, with the
// meaning that they have for curl and for every program in Go
// (golang.org/x/net/http/httpproxy). What weft says to its servers is TLS, so
// HTTP_PROXY does not concern it.
//
// A proxy is asked with CONNECT and is told the server's name as it was given: the
// node need not be able to resolve it. User and password of the URL are sent as
// Basic credentials (RFC 7617) and are never in an error or a log. To a proxy of
// scheme https all of it goes inside TLS, by the system's roots. The TLS of the
// server goes end to end: a proxy sees names and bytes, no contents.
//
// Every error names the proxy, and Remedy says what a person does about it. Nothing
// here dials, waits longer than its context, or starts a goroutine.
package proxy
