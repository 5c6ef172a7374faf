// Package schema is the one table of formats: everything that weft writes and
// another release of weft may read, with the number of its schema.
//
// A number is raised only when the release before could not read what this one
// writes; what is merely added is ignored by a reader that does not know it, and
// needs no new number. Whoever reads a higher number than its own refuses before
// anything is written (Check), so that a downgrade costs nothing but the refusal.
// A lower number is always read.
//
// Data folders and the store carry a number as a whole, which covers what has
// none of its own (PEM, a MAC address, tokens), and is looked at first.
//
// What agents and servers say to each other is not here: see package skew.
// The package reads and writes nothing; proto/disk marks folders.
package schema
