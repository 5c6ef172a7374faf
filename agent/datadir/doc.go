// Package datadir is the agent's data folder: held by one agent, with files that
// are there whole or not at all (package disk).
//
// Invariants: files are 0600, the folder 0700. A file that cannot be used is set
// aside, never deleted, and only the last one is kept.
//
// It does not know what the files hold: their schemas belong to the rooms that
// write them.
package datadir
