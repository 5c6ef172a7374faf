// Command weft is the operator's tool: it asks the control servers over gRPC
// with mutual TLS, and on a node its own agent over a socket when no server can
// be asked.
//
// One file holds one noun or verb. The servers know the kinds: tables, short
// names and explanations come from Resources.ListKinds, so that a new kind needs
// no new release of the tool. Values go to standard output, everything said to a
// person besides to standard error; errors begin with "error: ". Exit status: 0
// done, 1 not done (or: diff found differences, status found problems), 2 status
// or diff could not ask.
//
// It holds no rules of its own, with one exception: plan runs the agent's pure
// rooms on the intents that the server answers with.
package main
