package userspace

import (
	"log/slog"

	"github.com/weft-net/weft/agent/detached"
)

// StarterConfig makes a Starter. The zero value is useful.
type StarterConfig struct {
	Log     *slog.Logger // nil: none
	Program string       // with the subcommand wireguard; this one if empty
	Systemd string       // where its manager listens; if empty, it is asked where it runs
	Words   string       // folder for what processes say last, where there is no systemd; empty: nobody hears it
	Ended   func(End)    // called when a process has ended that nobody stopped; nil: nobody asks
}

// Starter has processes make devices in one network namespace; they are known by the
// names of these. It is safe for concurrent use.
type Starter = detached.Starter

// End is the end of a device's process that nobody asked the Starter for.
type End = detached.End

// NewStarter binds to the calling thread's network namespace.
func NewStarter(c StarterConfig) (*Starter, error) {
	return detached.NewStarter(detached.Config{Kind: kind, Log: c.Log, Program: c.Program, Systemd: c.Systemd, Words: c.Words, Ended: c.Ended})
}

// kind are the processes of devices.
var kind = detached.Kind{
	What:     "WireGuard process",
	Args:     func(dev string) []string { return []string{"wireguard", dev} },
	Unit:     func(dev string) string { return "weft-wireguard@" + dev + ".service" },
	UnitFile: "weft-wireguard@.service",
	Lock:     lockPath,
	Socket:   socketPath,
}
