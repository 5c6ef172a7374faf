// Package cniwire is what the CNI shim and the agent say to each other: one JSON
// document each way over a unix socket.
//
// The shim writes a Request and closes its writing half; the agent answers with
// one Response and closes. There are no frames, no handshake and no second
// request on a connection: the shim is exec'd for every pod event, so what counts
// is its size and its start, and a connection costs microseconds.
//
// Invariants: a document is at most MaxDocument bytes, and what does not end with
// the connection is refused; unknown fields are ignored, because the two ends can
// be of different releases; a Response holds a result or an error, never both.
//
// It knows nothing of what the verbs do, and imports neither gRPC nor protobuf.
package cniwire
