// Package datapath is the vocabulary of kernel objects and rules, with Diff.
//
// Producers (overlay, nat, pod) say what should be as a set of Objects; package
// kernel says what is, in the same words; Diff puts the steps between the two in
// an order that loses no packet: new before what rests on it, stale after.
//
// Every Object is a comparable struct: equal means nothing to do. Its Key says
// which kernel object it is about, its String is what an operator would type
// (`ip`, `bridge`, `nft` syntax) and what goldens hold.
//
// It imports no netlink and makes no system call.
package datapath
