// Command weft-cni is the CNI plugin that container runtimes exec for every pod
// event: a shim that carries the runtime's words to the agent's socket and the
// agent's answer back.
//
// It decides nothing. VERSION is answered here; for all else it reads its
// configuration's "socket" (by default /run/weft/cni.sock), sends one document
// and prints the answer. With the agent away STATUS fails with code 50, and the
// other verbs with code 11, so that the runtime tries again and no address is
// lost. Every verb has a deadline.
//
// It imports proto/cniwire and the CNI library only: it must stay small and
// start in a millisecond or two.
package main
