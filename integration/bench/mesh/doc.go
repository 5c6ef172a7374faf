// Command mesh measures what the README's table says of paths between nodes, each row
// with real processes in network namespaces, and prints it as a line of Markdown: what
// was measured, what is asked of it, what it was compared to in the same run, and the
// figures, as medians with the least and the most.
//
// Times of one run stand beside each other only: a machine with other work to do is
// slower in all of them. Relayed throughput is a command of its own, in the folder relay.
package main
