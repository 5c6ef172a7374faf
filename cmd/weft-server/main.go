package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/weft-net/weft/cmd/internal/config"
	"github.com/weft-net/weft/proto/logtail"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server"
)

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// gcPercent is how much garbage there may be beside what lives, where the
// environment does not say: a server holds thousands of streams that are silent, and
// makes little garbage, so that half of the usual memory for it costs next to no CPU.
const gcPercent = 50

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func run(args []string, out, errs io.Writer) int {
	if len(args) > 0 && args[0] == adminCommand {
		return runAdmin(args[1:], out, errs)
	}
	if len(args) > 0 && args[0] == egressCommand {
		return runEgressConfig(args[1:], out, errs)
	}
	f := newFlags()
	err := config.Load(f.set, args, config.Options{Name: "server", File: "/etc/weft/server.yaml"})
	if err == nil && f.wantHelp {
		f.help(out)
		return exitOK
	}
	if err == nil && f.version {
		fmt.Fprintln(out, "weft-server", note.Version)
		return exitOK
	}
	var c server.Config
	if err == nil {
		c, err = f.config()
	}
	if err != nil {
		fmt.Fprintf(errs, "weft-server: %s\n", strings.TrimPrefix(err.Error(), "config: "))
		return exitUsage
	}
	c.Tail = logtail.New(errs, f.level)
	c.Log = c.Tail.Logger()
	for _, alias := range f.aliases {
		c.Log.Info("flag of K3s taken", note.Flag, alias.old, note.Do, "write "+alias.now)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := server.Run(ctx, c); err != nil {
		fmt.Fprintf(errs, "weft-server: %s\n", strings.TrimPrefix(err.Error(), "server: "))
		return exitFailed
	}
	return exitOK
}
