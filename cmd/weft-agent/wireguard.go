package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
	"github.com/weft-net/weft/agent/userspace"
)

const wireguardUsage = `Makes WireGuard device DEV by this process, where the kernel has no WireGuard.

  weft-agent wireguard DEV

The agent starts it, as the unit weft-wireguard@DEV.service where systemd runs, and
gives the device its keys and peers by /var/run/wireguard/DEV.sock. The device is there
as long as the process is, whether the agent runs or not.

%s`

// runWireGuard is the process of one device in userspace.
func runWireGuard(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := pflag.NewFlagSet("weft-agent wireguard", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	readyFD := fs.Uint("ready-fd", 0, "`number` of an open file on which to say that the device is there; without it systemd is told")
	debug := fs.Bool("debug", false, "log what WireGuard says of each handshake that fails")
	err := fs.Parse(args)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		fmt.Fprintf(stdout, wireguardUsage, fs.FlagUsages())
		return nil
	case err != nil:
		return err
	case fs.NArg() != 1:
		return fmt.Errorf("wireguard: give the name of one device, not %d", fs.NArg())
	}
	var ready io.WriteCloser
	if *readyFD != 0 {
		ready = os.NewFile(uintptr(*readyFD), "ready")
	}
	return userspace.Serve(ctx, fs.Arg(0), ready, logger(stderr, *debug))
}
