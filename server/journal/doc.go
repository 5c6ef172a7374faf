// Package journal is what happened to a fabric, and who wrote what: events and
// the audit, as bounded lists below store.Journal that are only appended to.
//
// Events tell what changed (a node went away, a lease was given). Note takes one
// and never waits: a bounded queue is written as one page a second at most,
// whatever happens to however many nodes; what repeats itself within a minute is
// counted, not written again; what does not fit is dropped and counted, and the
// next page says so. A fabric in which nothing happens writes nothing.
//
// The audit tells of every write that a person asked for, also of one that was
// refused. Record returns when the record is stored, so that an answer goes out
// after its record; many at once share a transaction. A record that the store
// does not take is kept and tried again; while more than a bound of them wait,
// Blocked says that no further write may be let in.
//
// Versions are the former values of objects that operators write, the last ten
// of each, stored by the very transaction that replaced them.
//
// Keys are ordered by time and end in what is this process's own, so that many
// servers append without asking each other. Prune takes away what is too old or
// too much; one server runs it. A page that cannot be read is left out of
// answers, never a reason to fail.
//
// It does not decide what is worth telling, and knows nothing of gRPC.
package journal
