// Package agent is the composition root of weft-agent: it opens the rooms, joins
// them, and keeps one node's kernel as its last intent says.
//
// What happens in which order: the data folder is locked, the kernel opened, the
// last intent read; then everything runs at once, with or without a server. The
// uplink brings intents, the host's links and addresses give the underlay, plan
// makes one desired state of both, and the reconcile loop puts it there. Sockets,
// node.env, the CNI configuration and metrics show the result.
//
// Invariants: nothing is removed from the kernel before a complete intent is
// held; stopping removes nothing at all; a foreign setting is on disk with its
// old value before it is changed, so that Cleanup can put it back.
//
// It decides nothing about paths, addresses or rules: those are pure rooms.
package agent
