// Package uplinktest is a server for tests of agents: it signs certificates for a
// token, and hands every stream to the test, which says what the server says.
//
// It stands in for timing and for what a real server never does; it compiles
// nothing and keeps nothing.
package uplinktest
