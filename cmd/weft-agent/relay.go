package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
	"github.com/weft-net/weft/agent"
	"github.com/weft-net/weft/cmd/internal/config"
	"github.com/weft-net/weft/proto/note"
)

const relayUsage = `Carries packets of pairs of nodes that only relays join.

  weft-agent relay

The agent starts it, as the unit weft-relay.service where systemd runs, and tells it by
relay.sock in the run folder what to carry. It goes on by that as long as it runs, whether
the agent runs or not. Of the agent's flags it minds --run-dir and --debug.
`

// runRelay is the process that carries relayed packets.
func runRelay(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := newOptions()
	readyFD := o.set.Uint("ready-fd", 0, "`number` of an open file on which to say that the process listens; without it systemd is told")
	config.ArgsOnly(o.set, "ready-fd")
	err := config.Load(o.set, args, config.Options{Name: "agent", File: "/etc/weft/agent.yaml"})
	switch {
	case errors.Is(err, pflag.ErrHelp):
		_, err = fmt.Fprint(stdout, relayUsage)
		return err
	case err != nil:
		return err
	}
	p := agent.RelayProcess{RunDir: o.cfg.RunDir, Version: note.Version, Log: logger(stderr, o.debug)}
	if *readyFD != 0 {
		p.Ready = os.NewFile(uintptr(*readyFD), "ready")
	}
	return agent.RunRelay(ctx, p)
}
