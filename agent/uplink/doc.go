// Package uplink is the agent's line to the servers: its identity, the stream
// that brings its intent, and the last complete intent on disk.
//
// It joins with a token once, renews its certificate by itself, keeps one
// NodeSync stream to whichever server answers, by a line of its own (proto/line) or
// by gRPC where the server knows no lines, and reports up what the rest of
// the agent tells it. All of it goes through a proxy where one stands between
// (agent/proxy). Beside the stream it has a tunnel kept to every server that it knows
// (tunnels), and hands them to who serves them. Relays keeps, while pairs choose their
// way, a connection to the relay of each: of the same identity, in a process of its own.
// What it holds outlives every server: an intent is replaced by a newer complete one,
// never by silence.
//
// Invariants:
//   - Intent changes only with Complete. What is half received is thrown away
//     with the stream.
//   - The key is on disk before the first request that shows it, so a crash at
//     any point between leaves a node that can ask again.
//   - Reports are levels, not events: the outbox holds the latest of each and a
//     stream sends the difference to what it sent before. Nothing queues.
//   - A full set that would take away more than 30 % (and more than three) of
//     the peers waits for a second revision or 60 s.
//   - The data path never waits for the disk: the file is written after the new
//     intent stands, within 2 s and when Run ends, and a disk that refuses is a
//     problem, not a stop.
//
// Run owns its goroutines (sender, receiver, renewal, writer, those of tunnels) and returns when
// all have ended. Generated types stop here. It plans nothing and knows no kernel.
package uplink
