// Command tunnel measures weft's room tunnel beside what does its job elsewhere:
// TLS alone (a connection a stream), a yamux over one websocket, the real
// remotedialer, the real Konnectivity (HTTP CONNECT).
//
// Every contender stands in the same place. A stack is five processes of this one
// program, and a sixth where a delay or a cut is asked for:
//
//	client -- unix socket, HTTP CONNECT --> server == mutual TLS, loopback == agent -- TCP --> target
//	                                               (relay: delay, cut)
//
// The tunnel is what is between server and agent. The front before it is the same
// few lines for all (front.go) but for Konnectivity, which brings its own. Client
// and target do as little as they can, since they share the machine's processors
// with what is measured.
//
// Each row runs in rounds; in a round the contenders follow one another, each in a
// stack that is new. Medians are of rounds, and shares of tls are of the same round.
// Processor time is that of server and agent (getrusage(2): user and system), and of
// no other process. Sizes are heap and stacks after two collections, or resident
// sizes where it says so.
//
// The driver speaks with its processes over their standard input and output, one
// line of JSON each way. A process ends when its standard input does: nothing is
// left behind by a driver that was killed.
package main
