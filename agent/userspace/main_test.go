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
	"unsafe"

	"golang.org/x/sys/unix"

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

// withoutIPv6 says in the environment that processes of devices make no IPv6 sockets.
const withoutIPv6 = "USERSPACE_TEST_WITHOUT_IPV6"

// panics says in the environment that processes of devices end before they are ready.
const panics = "USERSPACE_TEST_PANICS"

func process(dev string) {
	if os.Getenv(panics) != "" {
		panic("the last words")
	}
	if os.Getenv(withoutIPv6) != "" {
		if err := switchIPv6Off(); err != nil {
			panic(err)
		}
	}
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

// switchIPv6Off has socket(2) answer for IPv6 as a kernel does that was started with
// ipv6.disable=1, in all threads of this process (seccomp(2)).
func switchIPv6Off() error {
	const (
		setFilter = 1     // SECCOMP_SET_MODE_FILTER
		allOfUs   = 1     // SECCOMP_FILTER_FLAG_TSYNC
		nr, arg0  = 0, 16 // in struct seccomp_data
	)
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: nr},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SOCKET, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: arg0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.AF_INET6, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, setFilter, allOfUs, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return errno
	}
	return nil
}
