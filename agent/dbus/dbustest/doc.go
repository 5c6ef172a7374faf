// Package dbustest stands in for who answers on D-Bus: systemd's manager, which says what
// a test wrote.
//
// It checks nothing of what it is asked, but tells it. It owns a goroutine for each
// stand-in, until the end of its test.
package dbustest
