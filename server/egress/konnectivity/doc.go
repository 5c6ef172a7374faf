// Package konnectivity is the front end that speaks Konnectivity's ProxyService, as
// a kube-apiserver with proxyProtocol GRPC does, over a unix socket.
//
// A stream of gRPC carries connections by number: DIAL_REQ is answered by DIAL_RSP
// once the target has accepted, with an error that says why not; DATA goes both ways;
// CLOSE_REQ is answered by CLOSE_RSP, which also tells that the target has ended. The
// protocol has no half-close: when the target ends, the connection does, after all
// that it has said was sent.
//
// Nor has it any flow control of a connection. While a stream carries one, as a
// kube-apiserver's does, gRPC's own holds it back, as far as its target reads. A
// stream that has carried two is read on: a connection whose target takes nothing
// is ended with the reason once maxQueued bytes wait for it, and the others go on.
//
// Invariants: no stream waits for another, and no dial for another. What is queued is
// bounded by bytes, what is under way by number. A packet that makes no sense ends its
// stream with INVALID_ARGUMENT and nothing else.
//
// It knows no tunnel, no node and no rule.
//
// Goroutines: Serve owns those of gRPC; a stream one a dial under way, and two a
// connection. All have ended when Serve returns.
package konnectivity
