// Package socket listens on unix sockets whose file decides who may come.
//
// Invariants: the file of a listener that is gone is replaced; one that answers is
// somebody else's and is refused, as is a path on which something other stands. What
// cannot be is said with the flag that chose the path.
//
// It accepts nothing and starts no goroutine.
package socket
