package detached_test

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/weft-net/weft/agent/detached"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

// TestMain is two programs: the tests, and a process that a Starter starts:
//
//	weft-agent process --ready-fd=3 HOW LOCK SOCKET PID
//
// It writes its pid to a file and holds the lock. HOW it goes on: well; deaf, which hears
// no SIGTERM; mute, which never says that it is ready; refused, which says why not;
// panics.
func TestMain(m *testing.M) {
	if len(os.Args) == 7 && os.Args[1] == "process" {
		if err := process(os.Args[3], os.Args[4], os.Args[5], os.Args[6]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	kerneltest.Main(m)
}

func process(how, lock, socket, pid string) error {
	ready := os.NewFile(3, "ready")
	if err := os.WriteFile(pid, fmt.Append(nil, os.Getpid()), 0o600); err != nil {
		return err
	}
	f, err := detached.Hold(lock, 0)
	if err == nil && how == "refused" {
		detached.Release(lock, f)
		err = fmt.Errorf("it has no device")
	}
	if err != nil {
		return detached.Ready(ready, err)
	}
	if how == "panics" {
		panic("the last words")
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return detached.Ready(ready, err)
	}
	term := make(chan os.Signal, 1)
	if how == "deaf" {
		signal.Ignore(syscall.SIGTERM)
	} else {
		signal.Notify(term, syscall.SIGTERM)
	}
	if how != "mute" {
		if err := detached.Ready(ready, nil); err != nil {
			return err
		}
	}
	<-term
	l.Close()
	detached.Release(lock, f)
	return nil
}
