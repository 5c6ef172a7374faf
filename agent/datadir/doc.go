// Package datadir is the agent's data folder: who holds it, and files in it
// that are there whole or not at all.
//
// Invariants: one process holds a folder at a time (flock, so that a killed
// holder leaves nothing behind); a file is replaced by rename after fsync, so a
// crash or a full disk leaves the old content; files are 0600, the folder 0700.
//
// It does not know what the files hold: their schemas belong to the rooms that
// write them.
package datadir
