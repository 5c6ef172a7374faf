// Package walk walks at random over the rooms that decide who has what:
// allocators on several servers, backups, restores, claims of agents; with crashes,
// lost answers and clocks that jump. A model that shares no code with them, its own
// arithmetic of prefixes included, says after each step whether any prefix was
// given twice or any node renumbered.
//
// It holds tests only.
package walk
