package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/weft-net/weft/cmd/internal/config"
	"github.com/weft-net/weft/server"
)

// adminCommand makes an operator's credentials on the server's own machine.
const adminCommand = "admin"

const adminHelp = `weft-server admin makes an admin's credentials on a server's own machine, for who has
none that count any more. The server may run or not. It takes the flags of weft-server
(--data-dir, and --etcd-endpoints with what belongs to it), and

      --user name       of the admin (default "admin")
  -o, --output file     to write, 0600 (default <data-dir>/admin.yaml)
`

// runAdmin is `weft-server admin`.
func runAdmin(args []string, out, errs io.Writer) int {
	f := newFlags()
	name := f.set.String("user", "admin", "`name` of the user")
	file := f.set.StringP("output", "o", "", "`file` to write")
	err := config.Load(f.set, args, config.Options{Name: "server", File: "/etc/weft/server.yaml"})
	if err == nil && f.wantHelp {
		fmt.Fprint(out, adminHelp)
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
	c.Log = slog.New(slog.DiscardHandler)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	path, err := server.AdminCredentials(ctx, c, *name, *file)
	if err != nil {
		fmt.Fprintf(errs, "weft-server: %s\n", strings.TrimPrefix(err.Error(), "server: "))
		return exitFailed
	}
	fmt.Fprintf(out, "credentials of admin %s written: weft --config %s status\n", *name, path)
	return exitOK
}
