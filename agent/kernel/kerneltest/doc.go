// Package kerneltest is a kernel in memory, and what tests need of the real one.
//
// Fake keeps state, prints itself, and refuses what Linux refuses: what rests on
// a device that is not there, a rule that names a set or chain that is not
// there, the end of a set that a rule still names. It loses what Linux drops by
// itself: all that rests on a device that goes, routes whose source address
// goes. Fail makes it refuse one object for as long as a test wants.
//
// Conform is the suite that both Fake and package kernel pass. Netns gives a test
// a network namespace of its own.
//
// It keeps no counters of packets and forwards none.
package kerneltest
