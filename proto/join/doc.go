// Package join is what a machine is handed to trust a fabric, and be trusted by
// it: the token of a node that joins, which pins the fabric's CA on first
// contact, and the credentials file of an operator.
//
// Invariants: a token is accepted whole or not at all; neither tokens nor keys
// show up in errors, logs or prints; files are 0600 and written whole.
//
// It does not decide who may join (server/identity does), and it dials nobody.
package join
