// Package front dials through a server's front end: HTTP CONNECT on the server's TLS
// port, with the operator's certificate.
//
// It tries the servers in turn, beginning with the last one that answered, until one
// answers; an answer that says that this server takes no dials now is none. What a
// target, a node or a rule is the matter with is not asked twice.
//
// It holds no connection, starts no goroutine, and puts no deadline on a connection
// that stands.
package front
