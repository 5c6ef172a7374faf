// Package apart has what carries a node's relayed packets run in a process of its own,
// which outlives the agent: agent/relay with its ports, and the connections to servers'
// relays.
//
// Serve is the process, `weft-agent relay`. Client is the agent's end: it has the
// methods of relay.Relay, and tells the process over a unix socket what it wants. The
// process goes on by what it was told last while no agent is there; the next agent says
// everything again, of which only what differs is done.
//
// What is said are frames: four bytes of length, a byte that says what it is, and then
// JSON of which both ends leave out what they do not know, or a probe. A process of
// another protocol is replaced at once, one of another release when it has carried nothing
// for a while; between the two lies what passes until the new one has its connections.
//
// Invariants:
//   - Only root speaks with the process: the socket is 0600.
//   - No secret is written to a disk. What two nodes alone know (relay.Config.Secret)
//     goes over the socket, and only where one of the two relays, or did.
//   - What is decoded is bounded, and refused whole; who sends it is let go of, and what
//     was told before stands.
//   - Client's methods do not wait, but Endpoint for a port that was never asked for,
//     and that for askWithin at most. What cannot go now is thrown away and counted
//     (probes), or is a level and goes later (all else).
//   - A peer that is not of the fabric any more is forgotten only by a telling that was
//     whole.
//
// Client's Run owns the goroutines of its connection, Serve one for each agent that is
// connected, and those of the Relay and of its connections.
package apart
