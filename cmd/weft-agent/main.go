package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
	"github.com/weft-net/weft/agent"
	"github.com/weft-net/weft/proto/logtail"
	"github.com/weft-net/weft/proto/note"
)

// gcPercent makes the Go runtime collect at twice as much garbage as live heap:
// the heap is a few MB, and a node that joins a hundred agents on one machine costs
// each a third less of processor than at 50 (make bench ONLY=join). A limit would
// make it collect without end on a large fabric.
const gcPercent = 200

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "weft-agent:", strings.TrimPrefix(strings.TrimPrefix(err.Error(), "config: "), "agent: "))
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	verb := ""
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		verb, args = args[0], args[1:]
	}
	switch verb {
	case "":
		return runAgent(ctx, args, stdout, stderr)
	case "cleanup":
		return runCleanup(ctx, args, stdout, stderr)
	case "check-config":
		return runCheck(ctx, args, stdout, stderr)
	case "wireguard":
		return runWireGuard(ctx, args, stdout, stderr)
	case "relay":
		return runRelay(ctx, args, stdout, stderr)
	case "version":
		_, err := fmt.Fprintln(stdout, "weft-agent", note.Version)
		return err
	case "help":
		return runAgent(ctx, []string{"--help"}, stdout, stderr)
	}
	return fmt.Errorf("unknown command %q: there are check-config, cleanup, relay, wireguard, version, and none to run the agent", verb)
}

func runAgent(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintf(stdout, usage, o.set.FlagUsages())
		return nil
	}
	if err != nil {
		return err
	}
	if o.version {
		_, err := fmt.Fprintln(stdout, "weft-agent", note.Version)
		return err
	}
	o.cfg.Version, o.cfg.Tail = note.Version, logtail.New(stderr, level(o.debug))
	o.cfg.Log = o.cfg.Tail.Logger()
	for _, alias := range o.aliases() {
		o.cfg.Log.Info("flag of K3s taken", note.Flag, alias[0], note.Do, alias[1])
	}
	return agent.Run(ctx, o.cfg)
}

// errChecks says by the exit status what the lines before it said.
var errChecks = errors.New("this node cannot carry the fabric yet; see FAIL above")

func runCheck(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintf(stdout, "Tests whether this node can carry the fabric; takes the agent's flags. Exit status 1 when it cannot.\n\n%s", o.set.FlagUsages())
		return nil
	}
	if err != nil {
		return err
	}
	o.cfg.Version, o.cfg.Log = note.Version, logger(stderr, o.debug)
	good, err := agent.CheckConfig(ctx, o.cfg, stdout)
	if err == nil && !good {
		err = errChecks
	}
	return err
}

func runCleanup(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c := agent.Cleaning{Log: logger(stderr, false)}
	fs := pflag.NewFlagSet("weft-agent cleanup", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&c.DataDir, "data-dir", agent.DefaultDataDir, "the agent's data `folder`")
	fs.StringVar(&c.RunDir, "run-dir", agent.DefaultRunDir, "the agent's run `folder`")
	fs.StringVar(&c.CNIConfDir, "cni-conf-dir", agent.Auto, "where the CNI configuration is: a `folder`, auto or none")
	fs.BoolVar(&c.Purge, "purge", false, "remove the data folder too: the node must join anew, with a token made with --replace")
	err := fs.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintf(stdout, "Removes from this host all that is weft's.\n\n%s", fs.FlagUsages())
		return nil
	}
	if err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if !fs.Changed("data-dir") {
		c.DataDir = ""
	}
	return agent.Cleanup(ctx, c, stdout)
}

func logger(w io.Writer, debug bool) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level(debug)}))
}

func level(debug bool) slog.Level {
	if debug {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}
