// Command scale measures what the fabric costs its servers as it grows: real
// agents' streams (agent/uplink and proto/intent, but no kernel) against real
// weft-server processes, in a namespace that it makes and takes away.
//
// One process, the driver, starts servers (and an etcd, if it is not the embedded
// one) and generators: processes of this same program that hold up to perProcess
// agents each, because a process has at most 20,000 open files. The driver asks
// generators over their standard input and output, a line of JSON each way; times
// are those of the machine's one clock.
//
// An agent here joins with a token, holds its stream, decodes what it is told,
// acknowledges it at once, and reports. It writes its identity to disk and not its
// intent, and the agents of one process share the objects that they decoded: five
// thousand machines have five thousand memories, this one does not. What it does
// not measure is the agents' kernel; integration/bench/fabric does.
//
// Every figure is printed, and appended to a CSV file; "plot" makes a picture of
// such a file.
package main
