// Package push tells every agent what its node should be, over one stream each,
// and takes in what agents say back.
//
// A Hub compiles the intent that the store's one watch brings, encodes each
// object once, and keeps one history of what changed. Each stream has a place in
// that history. In a round all streams are brought from where they are to where
// the hub is; the messages from one place to another are made once, whatever the
// number of streams. A stream sends as fast as its agent reads, and then goes on
// from its place: a slow agent costs a number, and never a queue. Changes that
// come faster than rounds are possible fall together.
//
// An agent that comes back is sent what changed after the revision that it holds.
// Where history does not reach back that far, the digest of its set says whether
// it misses anything; it is then sent what the store dates later, and asks for
// all if that was not it. Otherwise it is sent a full set between ReplaceAll
// brackets: few agents at a time, the others wait in line.
//
// Invariants: Complete{r} follows all objects of revision r. One stream a node: of
// one agent the newest wins. Another agent of that node, which may be a copy of its
// data folder, is let in once the holder, asked here or by way of its server, does
// not answer; before that nothing of it is stored. A stream speaks for the node of
// its certificate and for no other. Both ends send heartbeats; a side that hears nothing for 8 s ends the
// stream. What agents report wakes compile only if their peers need it (the
// report below store.Intent, if it differs); liveness, applied revisions, errors
// and endpoints are observations, written in batches.
//
// A stream comes by a line of its own (Speak) or as a call of gRPC's (Sync). By a
// line it costs the goroutine that brings it, another while something is sent, and
// no more, but for as long as its lease was not looked up: of thousands of agents
// the most part rests. By gRPC one more reads. The
// Hub owns these, one goroutine that beats for all and one that writes
// observations; Run waits for them. It judges no lease, no certificate and no
// resource.
package push
