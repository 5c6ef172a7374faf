// Package lab builds small networks out of namespaces for the demo, the
// scenarios and the benchmarks: hosts on one switch, processes in them, pods
// attached by libcni through the real shim.
//
// Everything that a Lab made is named weft-<pid>-<lab>-<what> and goes with Close, also
// what a killed Lab left behind: New sweeps the namespaces of dead pids. Nothing
// happens in the namespace of the caller but the creation of others.
package lab
