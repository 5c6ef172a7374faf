// Package turn says when agents that come at once may come: a thousand whose server was
// restarted are back within seconds, and none of the rest is late for it.
//
// Line is safe for concurrent use, owns no goroutine, and reads no clock.
package turn
