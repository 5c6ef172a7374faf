// Package adopt rebuilds a store that was lost from what agents carry: each has
// its own lease, and those of all its peers, on its disk.
//
// A Collector speaks to agents only to ask them, and sends them away again: their
// data paths stay as they are. Plan is pure: it makes of what they said the
// objects of a store, and says what they did not agree about. Of several who are said
// to have a prefix, the one of the youngest word has it, as server/lease weighs them;
// what a node carries and another has by a younger word is kept for it beside that, and
// nothing is ever given to two.
//
// What agents do not know is not in the new store: reservations of nodes that
// never joined, tokens, users, what operators wrote of other kinds.
package adopt
