package userspace_test

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
	"github.com/weft-net/weft/agent/userspace"
)

const (
	dev    = datapath.WGLink0
	socket = "/var/run/wireguard/" + dev + ".sock"
	lock   = "/var/run/wireguard/" + dev + ".lock"
)

// starter makes a namespace with a Starter; its processes end with the test.
func starter(t *testing.T) *userspace.Starter {
	t.Helper()
	kerneltest.Netns(t)
	s, err := userspace.NewStarter(userspace.StarterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background(), dev); err != nil {
			t.Error(err)
		}
		s.Close()
	})
	return s
}

// pid is the process that has the device.
func pid(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(lock)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// kill ends a process at once and waits until it is gone.
func kill(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		t.Fatal(err)
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 30_000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n != 1 || err != nil {
			t.Fatalf("process %d does not end: %v", pid, err)
		}
		return
	}
}

// TestOutlivesTheAgent: the device stays when the agent is killed, and the next agent
// ends it.
func TestOutlivesTheAgent(t *testing.T) {
	s := starter(t)
	agent := exec.Command("/proc/self/exe", "agent", dev)
	stdin, err := agent.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "<nil>\n" {
		t.Fatalf("%q, %v", line, err)
	}
	process := pid(t)
	if who, line := s.Mend(dev); who != "its process "+strconv.Itoa(process) || line != "kill -9 "+strconv.Itoa(process) {
		t.Errorf("%s, %s", who, line)
	}
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait()
	if sid, err := unix.Getsid(process); err != nil || sid != process {
		t.Errorf("the process is of session %d, not its own: %v", sid, err)
	}
	k := openKernel(t, s)
	want := state(t)
	converge(t, k, want)
	if pid(t) != process {
		t.Error("the device was made anew")
	}
	converge(t, k, datapath.State{})
	if err := unix.Kill(process, 0); !errors.Is(err, unix.ESRCH) && !zombie(process) {
		t.Errorf("the process is still there: %v", err)
	}
	nothingLeft(t)
}

func nothingLeft(t *testing.T) {
	t.Helper()
	if left, err := os.ReadDir("/var/run/wireguard"); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// zombie tells whether a process has ended, and its parent did not ask for it yet.
func zombie(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, after, _ := strings.Cut(string(b), ") ")
	return err != nil || strings.HasPrefix(after, "Z")
}

// TestDeathHeals: the process dies, the link goes with it, that is an event, and the
// next turn makes link and peers anew.
func TestDeathHeals(t *testing.T) {
	s := starter(t)
	k := openKernel(t, s)
	want := state(t)
	converge(t, k, want)

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	kicks, done := make(chan datapath.Kinds, 1024), make(chan error)
	go func() { done <- k.Watch(ctx, func(kinds datapath.Kinds) { kicks <- kinds }) }()
	<-kicks
	first := pid(t)
	kill(t, first)
	for seen := false; !seen; {
		select {
		case kinds := <-kicks:
			seen = kinds.Has(datapath.KindLink) && kinds.Has(datapath.KindWGPeer)
		case <-ctx.Done():
			t.Fatal("nobody said that the link went")
		}
	}
	if _, err := os.Lstat(socket); err != nil {
		t.Errorf("the socket of the dead process: %v", err) // what Start must do away with
	}
	converge(t, k, want)
	if pid(t) == first {
		t.Error("no other process")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	kill(t, pid(t))
	if err := s.Stop(context.Background(), dev); err != nil {
		t.Error(err)
	}
	nothingLeft(t)
}

// TestSocketRemoved: a process that cannot be reached any more ends itself.
func TestSocketRemoved(t *testing.T) {
	s := starter(t)
	k := openKernel(t, s)
	want := state(t)
	converge(t, k, want)
	fd, err := unix.PidfdOpen(pid(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	for n := 0; n == 0; {
		if n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 60_000); n == 0 && err == nil {
			t.Fatal("it runs on")
		}
		n = max(n, 0)
	}
	converge(t, k, want)
}

// TestWithoutIPv6: where the kernel has none, a device listens on the same port of IPv4,
// and says so; the port of somebody else is still refused.
func TestWithoutIPv6(t *testing.T) {
	t.Setenv(withoutIPv6, "1")
	s := starter(t)
	k := openKernel(t, s)
	sink, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	want := state(t)
	p := datapath.WGPeer{Dev: dev, Peer: kerneltest.Key(2), Allowed: "10.42.2.0/24", Keepalive: 25, Endpoint: sink.LocalAddr().(*net.UDPAddr).AddrPort()}
	want[p.Key()] = p
	converge(t, k, want)
	if sockets := kerneltest.Run(t, "ss -Hlun"); !strings.Contains(sockets, "0.0.0.0:51820 ") || strings.Contains(sockets, "[::]") {
		t.Errorf("sockets:\n%s", sockets)
	}
	if err := sink.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, from, err := sink.ReadFrom(make([]byte, 2048)); err != nil || from.String() != "127.0.0.1:51820" {
		t.Errorf("a handshake from %v, %v", from, err)
	}
	other, err := net.ListenPacket("udp4", ":51830")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	link := want[datapath.Link{Name: dev}.Key()].(datapath.Link)
	moved := link
	moved.WG.Port = 51830
	refused(t, k.Apply(context.Background(), []datapath.Op{{Old: link, New: moved}})[0], "UDP port 51830 is taken")
	converge(t, k, want)
}

// TestInTheWay is what a device cannot be made for, each with who is in the way, and
// nobody touched.
func TestInTheWay(t *testing.T) {
	ctx := context.Background()
	t.Run("a live socket of somebody else", func(t *testing.T) {
		s := starter(t)
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		refused(t, s.Start(ctx, dev), socket, "in use")
		if _, err := os.Lstat(socket); err != nil {
			t.Errorf("the socket was removed: %v", err)
		}
	})
	t.Run("a link of that name", func(t *testing.T) {
		s := starter(t)
		kerneltest.Run(t, "ip link add "+dev+" type bridge")
		refused(t, s.Start(ctx, dev), "TUN device "+dev)
		if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a socket was left: %v", err)
		}
	})
	t.Run("an agent of another network namespace", func(t *testing.T) {
		s := starter(t)
		if err := s.Start(ctx, dev); err != nil {
			t.Fatal(err)
		}
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Fatal(err)
		}
		other, err := userspace.NewStarter(userspace.StarterConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		refused(t, other.Start(ctx, dev), "another network namespace", strconv.Itoa(pid(t)))
		refused(t, other.Stop(ctx, dev), "another network namespace")
		if err := unix.Kill(pid(t), 0); err != nil {
			t.Errorf("the other's process: %v", err)
		}
	})
}

// TestNotStarted: what keeps a process from being ready is named.
func TestNotStarted(t *testing.T) {
	ctx := context.Background()
	t.Run("a program that is not there", func(t *testing.T) {
		starter(t)
		s, err := userspace.NewStarter(userspace.StarterConfig{Program: "/nonexistent/weft-agent"})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		refused(t, s.Start(ctx, dev), "/nonexistent/weft-agent")
	})
	t.Run("a program that says nothing", func(t *testing.T) {
		starter(t)
		s, err := userspace.NewStarter(userspace.StarterConfig{Program: "/bin/true"})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		refused(t, s.Start(ctx, dev), "ended before it was ready")
	})
	t.Run("a deadline", func(t *testing.T) {
		s := starter(t)
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		refused(t, s.Start(ctx, dev), "did not say that it is ready")
	})
}

func refused(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%v; no %q", err, w)
		}
	}
}

func openKernel(t *testing.T, s *userspace.Starter) *kernel.Kernel {
	t.Helper()
	k, err := kernel.Open(slog.New(slog.DiscardHandler), kernel.Config{Keyring: kerneltest.NewKeyring(), Userspace: s, WireGuard: kernel.InUserspace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

func state(t *testing.T) datapath.State {
	t.Helper()
	s, err := datapath.Merge([]datapath.Object{
		datapath.Link{Name: dev, Type: datapath.LinkWG, MTU: 1420, WG: datapath.WG{Key: kerneltest.Key(1), Port: 51820}},
		datapath.WGPeer{Dev: dev, Peer: kerneltest.Key(2), Allowed: "10.42.2.0/24", PSK: kerneltest.PSK(1)},
		datapath.Route{Dst: netip.MustParsePrefix("10.42.2.0/24"), Dev: dev},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func converge(t *testing.T, k *kernel.Kernel, want datapath.State) {
	t.Helper()
	ctx := context.Background()
	for last := range 2 {
		have, err := k.Observe(ctx, datapath.AllKinds)
		if err != nil {
			t.Fatal(err)
		}
		ops := datapath.Diff(want, have)
		if last == 1 && len(ops) > 0 {
			t.Errorf("still: %v", ops)
		}
		for i, err := range k.Apply(ctx, ops) {
			if err != nil {
				t.Errorf("%v: %v", ops[i], err)
			}
		}
	}
}
