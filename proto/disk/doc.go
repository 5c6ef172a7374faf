// Package disk is what a crash, a full disk or a second process must not break: a
// folder of files that are there whole or not at all, held by one process.
//
// Invariants: a file is replaced by rename after fsync, so readers and whoever
// comes after a crash see the old content or the new; the rename itself is on the
// disk when WriteFile returns. One process holds a folder at a time, by flock, so
// that a killed holder leaves nothing behind.
//
// A folder carries the schema of all that is in it (package schema), and one of a
// later release is refused before anything in it is written. Of other files it
// knows neither content nor format.
package disk
