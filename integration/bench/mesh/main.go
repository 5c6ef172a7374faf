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
	asked   string // of weft
	measure func(context.Context, *bench) (line, error)
}

// line is what was measured.
type line struct {
	what     string
	peers    string // what it is compared to, of the same run
	measured string
}

// bench is what the measurements share.
type bench struct {
	bin  string // folder of the built binaries
	bare string // wireguard-go as it comes
	self string // this binary
	runs int    // 0: as many as the row has by itself
}

// times is how often something is measured.
func (b *bench) times(usual int) int {
	if b.runs > 0 {
		return b.runs
	}
	return usual
}

// rows, in the order of the table.
var rows = []row{
	{"moves", "0 lost of a 10 ms ping", moves},
	{"fallback", "< 1.5 s", fallback},
	{"pairs", "every pair < 1 s", pairs},
	{"userspace", "ratio >= 0.97", throughput},
	{"peers", "0.26 s, 0.1 ms; never a replace-all", peers},
	{"blackhole", "< 10 s; TCP keeps flowing", blackhole},
}

func main() {
	only := flag.String("only", "", "comma-separated names of rows; all by default")
	bin := flag.String("bin", "../../bin", "folder of the built binaries")
	bare := flag.String("wireguard-go", "bin/wireguard-go", "wireguard-go as it comes")
	runs := flag.Int("runs", 0, "repetitions; by default each row's own")
	role := flag.String("role", "", "what this process is: set by the one that measures")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *role == "peers" {
		err = peersRole(ctx, *bin, *bare, *runs)
	} else {
		err = run(ctx, *only, *bin, *bare, *runs)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mesh:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only, bin, bare string, runs int) (err error) {
	b := &bench{runs: runs}
	if b.bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	if b.bare, err = filepath.Abs(bare); err != nil {
		return err
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	for _, r := range rows {
		if only != "" && !slices.Contains(strings.Split(only, ","), r.name) {
			continue
		}
		began := time.Now()
		l, err := r.measure(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		fmt.Printf("| %s | %s | %s | %s |\n", l.what, r.asked, l.peers, l.measured)
		fmt.Fprintf(os.Stderr, "%s: measured in %v\n", r.name, time.Since(began).Round(time.Second))
	}
	return nil
}

// say tells on the way what has been measured so far.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "  "+format+"\n", args...) }
