// Package push tells every agent what its node should be, over one stream each,
// and takes in what agents say back.
//
// A Hub compiles the intent that the store's one watch brings, encodes each
// object once, and marks it dirty for every stream that it concerns. A stream
// sends what is dirty as fast as its agent reads; until then changes of one
// object fall together, so that a slow agent costs one mark an object and never
// a queue. An agent that comes back is sent what changed after the revision that
// it holds, or a full set between ReplaceAll brackets if history does not reach
// back that far, or if it holds another epoch or compile version.
//
// Invariants: Complete{r} follows all objects of revision r. One stream a node:
// the newest wins. A stream speaks for the node of its certificate and for no
// other. Both ends send heartbeats; a side that hears nothing for 8 s ends the
// stream. What agents report wakes compile only if their peers need it (the
// report below store.Intent, if it differs); liveness, applied revisions, errors
// and endpoints are observations, written in batches.
//
// The Hub owns two goroutines a stream and one that writes observations; Run
// waits for all of them. It judges no lease, no certificate and no resource.
package push
