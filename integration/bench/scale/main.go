package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// options of a run.
type options struct {
	bin     string
	self    string
	sizes   []int
	servers int
	etcd    string
	rows    []string
	csv     string
	keep    bool
	tunnels bool     // agents keep tunnels to their servers
	args    []string // further ones of weft-server
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "agents":
			return generate(ctx, args[1:])
		case "etcd":
			return serveEtcd(args[1:])
		case "plot":
			return plot(args[1:])
		}
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	for _, n := range o.sizes {
		if err := measure(ctx, o, n); err != nil {
			return fmt.Errorf("%d agents: %w", n, err)
		}
	}
	return nil
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("scale", flag.ContinueOnError)
	sizes := f.String("agents", "100,1000,5000", "comma-separated sizes of fabrics")
	rows := f.String("rows", "", "comma-separated rows; all by default: "+strings.Join(names(), ","))
	f.StringVar(&o.bin, "bin", "../../../bin", "folder of the built binaries")
	f.StringVar(&o.etcd, "etcd", "embedded", "embedded, or external: a process of its own")
	f.IntVar(&o.servers, "servers", 1, "servers that share the etcd")
	f.StringVar(&o.csv, "csv", "", "file that figures are appended to")
	f.BoolVar(&o.keep, "keep", false, "leave logs and data behind, and say where")
	f.BoolVar(&o.tunnels, "tunnels", false, "agents keep a tunnel to every server, too")
	debug := f.String("debug-listen", "", "pprof address of the first server, in the bench's namespace")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return o, err
	}
	if o.self, err = os.Executable(); err != nil {
		return o, err
	}
	if *debug != "" {
		o.args = append(o.args, "--debug-listen", *debug)
	}
	for t := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(t)
		if err != nil || n < 1 {
			return o, fmt.Errorf("-agents: %q is no count", t)
		}
		o.sizes = append(o.sizes, n)
	}
	if *rows != "" {
		o.rows = strings.Split(*rows, ",")
	}
	if o.etcd != "embedded" && o.etcd != "external" {
		return o, fmt.Errorf("-etcd: %q; embedded or external", o.etcd)
	}
	return o, nil
}
