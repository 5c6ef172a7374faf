// Package line carries one NodeSync stream over a connection that carries nothing
// else: an agent's, between TLS and the messages.
//
// gRPC shares a connection between calls. An agent has one call for as long as it
// lives, and a server thousands of agents: HTTP/2's frames, windows and header
// tables, and the goroutines that keep them, are most of what such a connection
// costs there. Here TCP's window is the stream's, and a connection at rest holds
// no buffer. Which of the two is spoken TLS says (ALPN, RFC 7301: Protocol, or
// h2), so that either end may be of a release that knows only gRPC.
//
// A frame is a head of 32 bits, most significant first, and as many bytes as its
// lower 31 bits say. The highest bit is set in the last frame: its bytes are the
// google.rpc.Status that the stream ended with. All others are messages.
//
// It knows nothing of what the messages say, dials nothing, and trusts nobody: how
// long a message may be is the reader's to say, and memory is taken as it comes.
package line
