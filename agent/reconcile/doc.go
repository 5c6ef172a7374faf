// Package reconcile keeps one kernel as it should be.
//
// A Loop asks its Plan what should be, looks at what is, and takes the steps
// between the two. It is level-triggered: a kick names kinds of objects that
// somebody touched and carries nothing else. The loop looks at the kernel at
// start, at the kinds that kicks name, and at everything once in a while; in
// between its own last commit stands for what is there.
//
// Invariants:
//
//   - Nothing is deleted before the first complete plan (Want.Complete), and
//     nothing that the plan says to keep (Want.Keep).
//   - An object that cannot be made or removed is tried again by itself, later and
//     later; no other object waits for it. Elements of sets are told apart the
//     same way although the kernel takes them in one transaction.
//   - An object that somebody else keeps undoing is healed at once a number of
//     times, then once a second, and is a Problem.
//   - Our own events end in a look that finds nothing to do.
//
// Run owns no goroutine but its caller's; Sync, Drift and the readers may be
// called from any. Config.Plan is called by Run's goroutine only, so it may keep
// caches without locks.
//
// It knows no kind of object by heart but for what goes away with a device, and
// it decides nothing about the network.
package reconcile
