// Package kernel makes the kernel of one network namespace match what package
// datapath says, and tells what is there, in the same words.
//
// Observe sees only what is ours: our devices by name and type, what rests on
// them, routes of protocol 87 in table main, and table inet weft. Apply takes
// steps and decides nothing; a step that is already done is success, so that a
// caller that was killed half way may start again. Every nftables step of one
// call is in one transaction. Watch tells which kinds of objects were touched by
// somebody else and carries nothing more.
//
// Attach, Detach and CheckAttached make, remove and compare the veth pair of one
// pod; the host end's configuration comes through Apply like everything else.
//
// A device of somebody else that bears a name of ours, and a foreign route to a
// destination of ours, are errors that say what to remove; they are never
// touched. No command is ever run.
//
// A Kernel stays bound to the network namespace in which it was opened,
// whichever thread calls it.
package kernel
