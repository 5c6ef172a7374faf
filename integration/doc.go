// Package integration proves what no room can prove alone: that the walls of the
// house stand (layout_test.go) and that the four binaries together are a fabric
// (scenarios in testdata, run in network namespaces by package lab).
package integration
