package store

import "errors"

// ErrQuorum is the answer to a change of members after which too few of them would
// answer.
var ErrQuorum = errors.New("too few of its members are connected")

// Member is one member of the store's own cluster.
type Member struct {
	ID       uint64
	Name     string   // of its server; empty before it has started for the first time
	PeerURLs []string // where the others reach it
	Learner  bool     // it follows and has no vote yet
	Leader   bool     // of raft, as far as the asked member knows; no office of weft's
	Self     bool     // the one that was asked
}

// MemberState is how one member's file is.
type MemberState struct {
	Size  int64 // bytes of the file
	InUse int64 // bytes of them
	Quota int64 // bytes; 0 if unknown
}
