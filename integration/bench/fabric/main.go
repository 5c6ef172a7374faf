// Command fabric measures what the README's table says of the whole fabric, with
// real processes in network namespaces, and prints a row a figure.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// row is one line of the table.
type row struct {
	name    string
	measure func(context.Context, *bench) error
}

// bench is what the measurements share.
type bench struct {
	bin  string
	self string // this binary, to be run as a probe
	runs int
}

func main() {
	only := flag.String("only", "", "comma-separated names of rows; all by default")
	bin := flag.String("bin", "../../bin", "folder of the built binaries")
	runs := flag.Int("runs", 5, "repetitions where a median is given")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *only, *bin, *runs, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "fabric:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only, bin string, runs int, args []string) error {
	if len(args) > 1 && args[0] == "probe" {
		return probe(ctx, args[1:])
	}
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b := &bench{bin: bin, self: self, runs: runs}
	rows := []row{
		{"join", join},
		{"storm", storm},
		{"heal", heal},
		{"uplink", uplink},
		{"address", address},
		{"mtu", mtu},
		{"restart", restart},
		{"silence", silence},
		{"quorum", quorum},
		{"restore", restore},
		{"upgrade", upgrade},
		{"idle", idle},
		{"throughput", throughput},
	}
	for _, r := range rows {
		if only != "" && !slices.Contains(strings.Split(only, ","), r.name) {
			continue
		}
		began := time.Now()
		fmt.Printf("== %s\n", r.name)
		if err := r.measure(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		fmt.Printf("   (measured in %v)\n", time.Since(began).Round(time.Second))
	}
	return nil
}

// spread prints minimum, median and maximum.
func spread(values []float64) string {
	if len(values) == 0 {
		return "nothing measured"
	}
	s := slices.Sorted(slices.Values(values))
	return fmt.Sprintf("min %.3g  median %.3g  max %.3g  (n=%d)", s[0], s[len(s)/2], s[len(s)-1], len(s))
}
