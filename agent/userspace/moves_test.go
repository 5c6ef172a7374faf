package userspace

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMoves: an address that goes and a default route that comes or goes are said, what
// pods' routes do and an address that comes is not.
func TestMoves(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	run := func(line string) {
		t.Helper()
		words := strings.Fields(line)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	run("ip link set lo up")
	run("ip link add eth0 type bridge")
	run("ip link set eth0 up")
	m, err := openMoves()
	if err != nil {
		t.Fatal(err)
	}
	said, done := make(chan struct{}, 1024), make(chan struct{})
	go func() {
		defer close(done)
		m.run(func() { said <- struct{}{} })
	}()
	run("ip route add 10.42.0.5/32 dev eth0 proto 87") // said before the next, if at all
	run("ip address add 192.0.2.1/24 dev eth0")        // the same
	for _, line := range []string{
		"ip route add default via 192.0.2.2",
		"ip route delete default",
		"ip address delete 192.0.2.1/24 dev eth0",
		"ip -6 route add default dev eth0",
	} {
		run(line)
		select {
		case <-said:
		case <-time.After(time.Minute):
			t.Fatalf("%s: nothing was said", line)
		}
	}
	m.close()
	<-done
	if more := len(said); more > 0 {
		t.Errorf("%d more were said", more)
	}
}

func FuzzIsMove(f *testing.F) {
	f.Add([]byte{20, 0, 0, 0, unix.RTM_DELADDR, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 24, 0, 0})
	f.Add([]byte{255, 255, 255, 255, 0, 0})
	f.Fuzz(func(_ *testing.T, b []byte) { isMove(b) })
}
