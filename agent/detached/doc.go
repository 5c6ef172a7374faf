// Package detached has programs of weft run as processes that outlive the agent: as
// units of systemd where it runs, else as processes of a session of their own.
//
// A Starter starts, ends and follows the processes of one Kind. A process says that it
// is ready (Ready), and holds a file as long as it lives (Hold), by which the next agent
// finds it.
//
// Invariants: a process is never in the agent's control group, and stands in the network
// namespace of the Starter. It is told nothing secret by its arguments. What another
// process holds is never taken from it. One that is late does not come later: it is
// killed. The end of one that nobody stopped is told, with what became of it; what it
// said last is in a file, where there is no systemd.
//
// The room does not know what a process does. It owns a goroutine for each that a Starter
// has started or follows, until its end or Close.
package detached
