// Package audit writes down who asked for which write: a gRPC interceptor before
// all others, so that it sees refusals too.
//
// Every method is a write that its name does not say to be a read: a method that
// nobody thought of is written down rather than not. What is written down are
// names (of caller, method, objects), revisions and the outcome, never the content
// of a request: the fields that hold names are a list here.
//
// The record is stored before the answer goes out. When the store took the write
// and then does not take its record in time, the answer goes out with the header
// weft-audit, which says so; the record is kept, logged and tried again. While too
// many wait, writes are refused before they are done. Refused calls wait for
// nothing and are counted together, so that nobody can fill the audit by knocking.
//
// What another server hands on, because it cannot write it down any more when it is
// done, is written down as it was asked for, once.
//
// It judges nobody: who may call is identity's to say.
package audit
