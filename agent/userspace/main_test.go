package userspace_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/weft-net/weft/agent/kernel/kerneltest"
	"github.com/weft-net/weft/agent/userspace"
)

// TestMain is three programs: the tests, the process of a device that a Starter
// starts, and an agent that has one started and then waits for its end.
func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == "wireguard" {
		process(os.Args[3])
	}
	if len(os.Args) == 3 && os.Args[1] == "agent" {
		agent(os.Args[2])
	}
	kerneltest.Main(m)
}

func process(dev string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := userspace.Serve(ctx, dev, os.NewFile(3, "ready"), slog.New(slog.DiscardHandler)); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

func agent(dev string) {
	s, err := userspace.NewStarter(userspace.StarterConfig{})
	if err == nil {
		err = s.Start(context.Background(), dev)
	}
	fmt.Println(err)
	_, _ = io.ReadAll(os.Stdin) // until the test ends
	os.Exit(0)
}
