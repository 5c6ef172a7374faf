// Package dbus speaks as much of D-Bus as weft needs: method calls to services of the
// host, such as firewalld and systemd, and the wait for one signal.
//
// A Conn has one deadline for all that is done with it, and is for one goroutine. What
// is read is bounded, and refused whole if it cannot be read.
//
// It makes no objects of its own, and knows no service.
package dbus
