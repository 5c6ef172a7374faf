// Package tunnels keeps a tunnel from an agent to every server that it knows.
//
// There is one keeper a server, named by its HOST:PORT. It opens the tunnel, has it
// served, and opens another when it is lost. What is known of a server only by
// another address is found out by the key that it shows: two tunnels to one server
// would throw each other out for ever.
//
// Invariants:
//   - At most one tunnel a server takes new streams at this end.
//   - New before old. A newer certificate, or newer roots, open another tunnel; the
//     one before takes no more streams and ends with its last, or with the
//     certificate that it was opened with, or after an hour.
//   - A server that was reached otherwise just now is tried now. One that says when
//     to come back is believed; one that knows no tunnels is asked every 10 min, and
//     is no failure.
//   - When Run's context ends, what is open has 2 s to end by itself.
//
// Run owns its goroutines: a keeper a server, one for each tunnel that is served, one
// for each that drains. It returns when all have ended. The package knows no target,
// no certificate and no websocket: who reaches a server, makes a tunnel and serves
// it are functions of its Config.
package tunnels
