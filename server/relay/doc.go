// Package relay carries packets between nodes of the fabric that have no better way to
// each other than over a server.
//
// An agent keeps a websocket to Path on every server that it knows, apart from its
// stream and its tunnel of dials. What it sends names another node; this server sends
// that on to the other node's connection here, in the name of the sender, which the
// sender's certificate has proved. What is carried is WireGuard's ciphertext, or a probe
// of a pair: this server can read neither. Since both agents of a pair are connected to
// every server, a server hands nothing to another one: if the other agent has no
// connection here, the sender is told so, and uses another server.
//
// Invariants:
//   - Nobody is sent to or from but who shows a node's certificate that counts. A
//     connection ends with the certificate that it came with.
//   - A node is where the newest connection of the agent's process is that holds the
//     name. Another process gets the name only when that one answers no more.
//   - Nothing waits: what the other node does not take in time is thrown away, the oldest
//     first, within that node's own queue. Nobody's reading waits for somebody's writing.
//   - A pair carries no more than its rate in each direction; of answers that somebody is
//     not there, a connection gets few. All that a connection holds is bounded.
//   - Per packet nothing is allocated.
//
// Goroutines: one for each connection, beside the two of package tunnel, until it ends.
// Run waits for all of them. The room holds no certificate, knows no resource, and
// remembers nothing on disk.
package relay
