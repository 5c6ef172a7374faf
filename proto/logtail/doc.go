// Package logtail is what a process logs: text lines to a writer, the last
// thousand kept in memory for who asks, and a level that can be another for a
// while and goes back by itself.
//
// It does not rotate, send or filter anything; secrets are kept out of logs by
// note.Secret.
package logtail
