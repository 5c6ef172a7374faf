// Package connect is the front end that speaks HTTP CONNECT (RFC 9110, section
// 9.3.6): to a kube-apiserver on a unix socket or over TLS, to people's commands, and
// to other servers, which forward one hop.
//
// A Server reads one request a connection, strictly and within bounds, learns who
// asks, has a Dialer reach the target, and answers. 200 means that the agent's dial
// has succeeded. A refusal is a status with the reason in its first line, because
// that line is what a kube-apiserver prints, and with the code in the field
// Weft-Code. From then on bytes go both ways until both ends have ended; each may
// end first and go on reading.
//
// Invariants: what cannot be read whole is refused whole, and nothing is dialled.
// Bytes that follow the head are the target's, none is lost. A client that hangs up
// before it is answered ends its dial. The number of heads that are waited for, and
// of dials under way, is bounded: of the former the oldest goes, of the latter the
// newest is refused. A connection whose first request is no CONNECT is handed on as
// it came, to who serves the rest of the port.
//
// It knows no tunnel, no node and no rule, and does no TLS handshake.
//
// Goroutines: Serve owns one a connection, and a second one from the end of its head
// on. It returns when all have ended.
package connect
