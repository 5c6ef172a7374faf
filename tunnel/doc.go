// Package tunnel carries many streams and unreliable datagrams over one websocket.
//
// The end that can dial does so; from then on both ends are alike. Either opens a
// stream with a target (bytes that this package does not look at), and has it once
// the other end said yes; a no comes with a code and a reason and costs that stream
// alone. What goes over the wire is in PROTOCOL.md.
//
// Invariants. The read loop never writes and never waits for anything but the
// network: a consumer that does not read costs its own window and nothing else.
// Nobody waits for a write in order to read. A stream's memory is bounded by its
// window, all windows together by the Budget of the process. What is not yet in the
// socket is kept here, in order of fairness, so that a small message passes bulk.
// A violation ends the stream, not the session, wherever the frames that follow
// can still be told apart. What a stream holds is nothing while it is idle.
//
// A Conn owns two goroutines: one that reads, as long as it stands, and one that
// writes, only while there is more to write than a caller could write himself
// without waiting. A timer beats for it. Close waits for all of them. It opens no
// connection of its own, checks no identity and no permission, and does not come
// back when it is lost.
package tunnel
