package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// options of a run.
type options struct {
	self       string
	runs       int
	rows       []string
	contenders []string
	csv        string
	profiles   string // folder of processor profiles of servers and agents
	verbose    bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tunnel:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "role" {
		return play(ctx, args[1:], os.Stdin, os.Stdout)
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	return measure(ctx, o)
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("tunnel", flag.ContinueOnError)
	names := make([]string, 0, len(contenders))
	for _, c := range contenders {
		names = append(names, c.name)
	}
	rows := f.String("rows", "", "comma-separated rows; all by default: "+strings.Join(rowNames(), ","))
	who := f.String("contenders", "", "comma-separated contenders; all by default: "+strings.Join(names, ","))
	f.IntVar(&o.runs, "runs", 3, "rounds")
	f.StringVar(&o.csv, "csv", "", "file that each figure of each round is appended to")
	f.StringVar(&o.profiles, "profiles", "", "folder for processor profiles of the servers and agents of bulk rows")
	f.BoolVar(&o.verbose, "v", false, "print figures as they come")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.self, err = os.Executable(); err != nil {
		return o, err
	}
	if *rows != "" {
		o.rows = strings.Split(*rows, ",")
	}
	if *who != "" {
		o.contenders = strings.Split(*who, ",")
	}
	for _, r := range o.rows {
		if _, ok := find(rowNames(), r); !ok {
			return o, fmt.Errorf("-rows: no row %q; there are %s", r, strings.Join(rowNames(), ", "))
		}
	}
	for _, c := range o.contenders {
		if _, ok := find(names, c); !ok {
			return o, fmt.Errorf("-contenders: no contender %q; there are %s", c, strings.Join(names, ", "))
		}
	}
	return o, nil
}

func find(all []string, one string) (int, bool) {
	for i, a := range all {
		if a == one {
			return i, true
		}
	}
	return 0, false
}
