// Package tailscaletest stands in for the tailscale program, and for the tailscaled
// behind it, in tests.
//
// Daemon is what tailscaled remembers, in a file; Main is one call of the program. Suite
// holds it, and in make test-tailscale the real program, to the same answers. It
// keeps state from call to call and refuses what the real one refuses: `up` that
// leaves a setting out which is not at its default, flags that are not known, routes
// that are none, a key that is used up, a daemon that does not run. Its words are
// those of release 1.100.
//
// It moves no packet, and knows no flag that the agent does not use but those that
// `up` must mention.
package tailscaletest
