// Package check tests whether a node can carry the fabric, before it joins and
// while it runs: one Check for each thing that was tried, with what was found and
// the command that mends it.
//
// What the kernel can do is tried for real: a sample of everything that weft
// programs, from the same rooms that plan it, is applied in a network namespace
// that is thrown away. Ports are bound, servers dialled, folders written to. What
// the host's own system does to the fabric comes from package host, word for word
// as status tells it.
//
// Nothing of the host is changed: ports are let go, files removed.
package check
